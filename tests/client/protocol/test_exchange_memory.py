"""The client protocol with shared memory, driven by hand: regions registered, reused, retired, given back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from manual_sender import FRAMES, A, ManualSender, exchange_with, faces, infer_reply
from region_files import region_files
from tritonclient.grpc import service_pb2 as pb

from deepfake_triton.client import Transport
from deepfake_triton.client.protocol import exchange
from deepfake_triton.client.protocol.exchange import Exchange
from deepfake_triton.client.protocol.steps import Call, Drain, Pause
from deepfake_triton.client.wire.shared_memory import UNREGISTER_PAUSES_S
from deepfake_triton.errors import InvalidRequest, ServerUnreachable, SharedMemoryInUse, SharedMemoryLost

pytestmark = pytest.mark.fast


@pytest.fixture
def memory() -> Iterator[None]:
    """Nothing of this process is left in /dev/shm."""
    before = set(region_files())
    yield
    assert set(region_files()) <= before


def registered(client: Exchange) -> ManualSender:
    """Up to the first ModelInfer: sweep, then register."""
    sender = faces(client)
    assert sender.call.method == "SystemSharedMemoryStatus"
    sender.send(pb.SystemSharedMemoryStatusResponse())
    assert sender.call.method == "SystemSharedMemoryRegister"
    return sender.send(pb.SystemSharedMemoryRegisterResponse())


def region_of(call: Call) -> str:
    request = call.request
    assert isinstance(request, pb.ModelInferRequest)
    return str(request.inputs[0].parameters["shared_memory_region"].string_param)


def test_a_region_is_registered_once_reused_and_taken_back(memory: None) -> None:
    client = exchange_with(A, transport=Transport.AUTO)
    sender = registered(client)
    name = region_of(sender.call)
    assert name and not sender.call.request.raw_input_contents
    sender.answer(infer_reply())
    again = faces(client)
    assert region_of(again.call) == name, "no further call"
    again.answer(infer_reply())
    closing = ManualSender(client.close())
    assert closing.step == Drain(exchange.CLOSE_TIMEOUT_S)
    closing = closing.send()
    assert closing.call.method == "SystemSharedMemoryUnregister" and closing.call.cleanup
    closing = closing.throw(SharedMemoryInUse("for a moment"))
    assert closing.step == Pause(UNREGISTER_PAUSES_S[1])
    closing.send().send(pb.SystemSharedMemoryUnregisterResponse())
    assert closing.is_done


def test_a_region_that_a_restarted_server_does_not_know_is_registered_anew(memory: None) -> None:
    client = exchange_with(A, transport=Transport.AUTO)
    sender = registered(client)
    lost = region_of(sender.call)
    sender.fail(SharedMemoryLost("unknown"), answered=True)
    assert sender.call.method == "SystemSharedMemoryRegister"
    sender.send(pb.SystemSharedMemoryRegisterResponse())
    assert region_of(sender.call) != lost
    assert sender.answer(infer_reply()).is_done


def test_a_region_whose_request_was_given_up_is_never_reused(memory: None) -> None:
    client = exchange_with(A, transport=Transport.AUTO)
    sender = registered(client)
    given_up = region_of(sender.call)
    sender.fail(ServerUnreachable("gone"), answered=False)
    assert isinstance(sender.send().step, Call) and sender.call.method == "SystemSharedMemoryUnregister"
    sender.throw(SharedMemoryInUse("still in use"))
    assert sender.call.method == "SystemSharedMemoryRegister"
    sender.send(pb.SystemSharedMemoryRegisterResponse())
    assert region_of(sender.call) != given_up


def test_where_shared_memory_is_refused_frames_are_sent(memory: None) -> None:
    client = exchange_with(A, transport=Transport.AUTO)
    sender = faces(client)
    sender.send(pb.SystemSharedMemoryStatusResponse())
    sender.throw(InvalidRequest("not allowed"))
    assert sender.call.request.raw_input_contents == [FRAMES.data.tobytes()]
    sender.answer(infer_reply())
    assert faces(client).call.method == "ModelInfer", "and it is not tried again for a while"
