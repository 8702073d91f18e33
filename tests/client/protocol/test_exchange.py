"""The client protocol driven by hand: no server, no connection, no sleep.

The test is the sender: it takes each step that a flow yields, and sends a reply, or throws an error.
"""

from __future__ import annotations

import pytest
from listening_server import ensemble_config, ensemble_metadata, server_metadata
from manual_sender import FRAMES, A, B, Clock, ManualSender, exchange_with, faces, infer_reply, read_metadata
from tritonclient.grpc import service_pb2 as pb

from deepfake_triton.client import RetryPolicy
from deepfake_triton.client.protocol.endpoints import FIRST_BACKOFF_S
from deepfake_triton.client.protocol.served_models import MODEL_INFO_AGE_S, VERSION_READS
from deepfake_triton.client.protocol.steps import Pause, Probe, WaitForSlot
from deepfake_triton.errors import (
    DeadlineExceeded,
    InferenceFailed,
    InvalidRequest,
    ModelRestarting,
    ModelUnavailable,
    ServerOverloaded,
    ServerUnreachable,
    WrongEndpoint,
)

pytestmark = pytest.mark.fast


def test_a_clip_is_one_call() -> None:
    sender = faces(exchange_with(A))
    assert (sender.call.url, sender.call.method, sender.call.timeout_s) == (A, "ModelInfer", 60.0)
    assert sender.call.linger_s > 0 and not sender.call.cancellable, "an unknown Triton is not told to cancel"
    sender.answer(infer_reply(0.75))
    assert sender.is_done and sender.result.fake_probability.tolist() == [[0.75]]


def test_a_window_reads_the_model_first_and_again_when_another_version_answered() -> None:
    client = exchange_with(A)
    sender = read_metadata(ManualSender(client.detect_window(FRAMES, client.deadline())))
    read_metadata(sender.answer(infer_reply(version="2")))
    assert sender.is_done and sender.result.model.version == "1" and len(sender.result.clip.boxes) == 1
    sender = ManualSender(client.detect_window(FRAMES, client.deadline()))
    assert sender.call.method == "ModelInfer", "what was read a moment ago still holds"


def test_a_verdict_names_the_version_that_gave_it_among_several_behind_one_address() -> None:
    """The read is for that version, and goes on until a server is met that has it."""
    client = exchange_with(A)
    sender = read_metadata(ManualSender(client.detect_window(FRAMES, client.deadline())))
    sender.answer(infer_reply(version="2")).send(server_metadata("2.51.0"))
    for reply in (ensemble_metadata(), ensemble_config(version=2)):
        asked = sender.call.request
        assert isinstance(asked, pb.ModelMetadataRequest | pb.ModelConfigRequest) and asked.version == "2"
        assert isinstance(sender.throw(ModelUnavailable("version 2 is not found")).step, Pause)
        assert sender.send().call.request == asked
        sender.send(reply)
    assert sender.is_done and sender.result.model.version == "2"
    sender = ManualSender(client.detect_window(FRAMES, client.deadline())).answer(infer_reply())
    assert sender.is_done and sender.result.model.version == "1", "both are known by now"


def refuse_version(sender: ManualSender) -> ManualSender:
    """No server has the version that is read."""
    sender.send(server_metadata("2.51.0"))
    for _ in range(VERSION_READS):
        sender.throw(ModelUnavailable("that version is not found")).send()
    return sender.throw(ModelUnavailable("that version is not found"))


def test_a_version_whose_last_server_has_gone_is_what_it_was_or_the_clip_is_asked_again() -> None:
    clock = Clock()
    client = exchange_with(A, clock=clock)
    read_metadata(ManualSender(client.read_model(client.deadline())))
    sender = ManualSender(client.detect_window(FRAMES, client.deadline())).answer(infer_reply(version="2"))
    assert read_metadata(refuse_version(sender).send()).call.method == "ModelInfer", "2 was never known"
    sender.answer(infer_reply(version="2")).send(server_metadata("2.51.0"))
    sender.send(ensemble_metadata()).send(ensemble_config(version=2))
    assert sender.is_done and sender.result.model.version == "2"
    clock.now += MODEL_INFO_AGE_S + 1
    sender = ManualSender(client.detect_window(FRAMES, client.deadline())).send(server_metadata("2.51.0"))
    sender.send(ensemble_metadata()).send(ensemble_config(version=2)).answer(infer_reply())
    assert refuse_version(sender).is_done and sender.result.model.version == "1"


@pytest.mark.parametrize(("triton", "cancellable"), [("2.51.0", False), ("2.57.0", True)])
def test_only_a_triton_that_survives_it_is_told_to_cancel(triton: str, cancellable: bool) -> None:
    client = exchange_with(A)
    sender = read_metadata(ManualSender(client.detect_window(FRAMES, client.deadline())), triton)
    assert sender.call.cancellable is cancellable and (sender.call.linger_s == 0) is cancellable


def test_an_error_fails_over_at_once_and_then_backs_off() -> None:
    clock = Clock()
    retry = RetryPolicy(first_delay_s=0.2, longest_delay_s=0.5)
    client = exchange_with(A, B, clock=clock, retry=retry)
    client._endpoints.mark_healthy(A)
    sender = faces(client)
    assert sender.call.url == A
    sender.fail(ServerUnreachable("gone"), answered=False)
    assert sender.call.url == B, "failover, without a pause"
    for delay_s in (0.4, 0.5, 0.5):
        sender.fail(ModelRestarting("restarts"), answered=True)
        assert sender.step == Pause(delay_s), "doubled each time, up to the longest"
        clock.now += delay_s
        sender.send()
    sender.answer(infer_reply())
    assert sender.is_done


def test_a_failed_endpoint_is_left_alone_until_its_backoff_is_over_and_one_request_probes_it() -> None:
    clock = Clock()
    client = exchange_with(A, B, clock=clock)
    client._endpoints.mark_healthy(A)
    sender = faces(client)
    assert sender.call.url == A
    sender.fail(ServerUnreachable("gone"), answered=False).answer(infer_reply())
    assert {faces(client).call.url for _ in range(4)} == {B}
    clock.now += FIRST_BACKOFF_S
    assert sorted(faces(client).call.url for _ in range(4)) == [A, B, B, B]


def test_a_silent_endpoint_has_its_share_of_the_time_and_the_error_says_so() -> None:
    clock = Clock()
    sender = faces(exchange_with(A, B, clock=clock))
    assert sender.call.timeout_s == 30.0
    clock.now += 30.0
    sender.send(None)  # no reply in time
    assert (sender.call.url, sender.call.timeout_s) == (B, 30.0)
    clock.now += 30.0
    with pytest.raises(DeadlineExceeded, match=rf"{A}: no answer within 30 s; raise the time-out"):
        sender.send(None)


def test_the_retry_budget_ends_retries_of_a_server_that_is_there() -> None:
    sender = faces(exchange_with(A, retry=RetryPolicy(budget=0, burst=1)))
    assert isinstance(sender.fail(ServerOverloaded("full"), answered=True).step, Pause)
    sender.send()
    with pytest.raises(ServerOverloaded, match="full"):
        sender.fail(ServerOverloaded("full"), answered=True)


@pytest.mark.parametrize("kind", [InvalidRequest, InferenceFailed])
def test_what_would_fail_again_is_not_retried(kind: type[InvalidRequest]) -> None:
    with pytest.raises(kind):
        faces(exchange_with(A, B)).fail(kind("no"), answered=True)


def test_an_address_that_never_answered_is_probed_for_what_is_there() -> None:
    sender = faces(exchange_with(A))
    sender.fail(ServerUnreachable("failed to connect: Socket closed"), answered=False)
    assert isinstance(sender.step, Probe) and sender.step.url == A
    with pytest.raises(WrongEndpoint, match="HTTP"):
        sender.send(WrongEndpoint("HTTP is spoken there"))


def test_max_in_flight_keeps_to_the_deadline_and_a_slot_to_its_call() -> None:
    clock = Clock()
    client = exchange_with(A, max_in_flight=1, clock=clock)
    first, second = faces(client), ManualSender(client.detect_faces(FRAMES, client.deadline(2.0)))
    assert isinstance(second.step, WaitForSlot) and second.step.timeout_s == 2.0
    lease = first.call.lease
    assert lease
    lease.transfer()
    first.flow.close()  # its caller stops waiting, its call goes on
    assert not second.step.slot.done()
    clock.now += 2.0
    with pytest.raises(DeadlineExceeded, match="max_in_flight"):
        second.send(None)
    third = faces(client)
    assert isinstance(third.step, WaitForSlot)
    lease.release(answered=True)
    assert third.step.slot.done(), "the slot that was given up is not lost"
    assert third.send(True).call.method == "ModelInfer"


def test_a_flow_that_is_closed_before_its_call_was_made_releases_its_slot() -> None:
    client = exchange_with(A, max_in_flight=1)
    faces(client).flow.close()
    assert faces(client).call.method == "ModelInfer"


def test_a_closed_client_retries_nothing() -> None:
    client = exchange_with(A, B)
    sender = faces(client)
    ManualSender(client.close())
    with pytest.raises(ServerUnreachable, match="gone"):
        sender.fail(ServerUnreachable("gone"), answered=False)


def test_what_became_of_each_request_is_counted_by_server() -> None:
    client = exchange_with(A, B, retry=RetryPolicy(first_delay_s=0.1))
    sender = faces(client).fail(ServerOverloaded("full"), answered=True)
    assert sender.call.url == B, "tried at once"
    sender.answer(infer_reply())
    assert sender.is_done
    counts = client.counter.so_far()
    assert (dict(counts.answered), dict(counts.refused), dict(counts.failed)) == ({B: 1}, {A: 1}, {})
    with pytest.raises(InferenceFailed):
        faces(client).fail(InferenceFailed("broken"), answered=True)
    assert sum(client.counter.so_far().failed.values()) == 1
    assert dict(counts.failed) == {}, "counts that were taken stay as they were"


def test_a_window_whose_model_cannot_be_read_is_counted_too() -> None:
    client = exchange_with(A, B)
    sender = ManualSender(client.detect_window(FRAMES, client.deadline())).throw(ServerUnreachable("gone"))
    read_metadata(sender).answer(infer_reply())
    assert sender.is_done
    counts = client.counter.so_far()
    assert (dict(counts.answered), dict(counts.refused), dict(counts.failed)) == ({B: 1}, {}, {A: 1})
