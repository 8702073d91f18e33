from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from detector_calls import CHUNK_BYTES, call, messages, refusal_in, refusal_of, requests_of, services
from running_gateway import running_gateway

from deepfake_triton.gateway.access.key_file import create_key
from deepfake_triton.gateway.grpc_service import servicer
from deepfake_triton.gateway.server import Listening
from deepfake_triton.gateway.settings import GatewaySettings, Limits
from deepfake_triton.gateway.uploads import upload_pace
from deepfake_triton.serving.server import TritonServer

pytestmark = pytest.mark.triton

MAX_UPLOAD_BYTES = 1_000_000


def options(**given: Any) -> Any:
    return messages.DetectRequest(options=messages.Options(**given))


def chunk(content: bytes) -> Any:
    return messages.DetectRequest(chunk=content)


@pytest.fixture(scope="module")
def small_settings(
    published_server: TritonServer, tmp_path_factory: pytest.TempPathFactory
) -> GatewaySettings:
    """Of a gateway that takes small uploads only, into a folder of its own."""
    return GatewaySettings(
        urls=(published_server.url,),
        port=0,
        grpc_port=0,
        spool=tmp_path_factory.mktemp("spool"),
        limits=Limits(max_upload_bytes=MAX_UPLOAD_BYTES),
    )


@pytest.fixture(scope="module")
def small_gateway(small_settings: GatewaySettings) -> Iterator[Listening]:
    with running_gateway(small_settings) as listening:
        yield listening


def metric(gateway: Listening, name: str) -> float:
    """The value of a metric."""
    text = httpx.get(f"{gateway.url}/metrics", trust_env=False).text
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def spooled(settings: GatewaySettings) -> int:
    """Number of files that this process, which runs the gateway, has open in the spool."""
    opened = 0
    for number in os.listdir("/proc/self/fd"):  # noqa: PTH208 - closed while it is read
        try:
            opened += str(settings.spool) in os.readlink(f"/proc/self/fd/{number}")  # noqa: PTH115
        except OSError:
            continue
    return opened


def eventually(holds: Callable[[], bool], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "still not so"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("requests", "error", "text"),
    [
        ([], "UploadMalformed", "no message"),
        ([chunk(b"bytes")], "UploadMalformed", "got chunk, expected options"),
        ([messages.DetectRequest()], "UploadMalformed", "got neither, expected options"),
        ([options()], "UploadMalformed", "no bytes"),
        ([options(), options()], "UploadMalformed", "got options, expected a chunk"),
        ([options(), chunk(b"x"), messages.DetectRequest()], "UploadMalformed", "got neither"),
        ([options(size_bytes=5), chunk(b"four")], "UploadMalformed", "got 4 bytes"),
        ([options(size_bytes=5), chunk(b"sixsix")], "UploadMalformed", "more bytes than"),
        ([options(frames=65), chunk(b"x")], "InvalidFrames", "1…64"),
        ([options(windows=2, sampling="UNIFORM")], "InvalidFrames", "not both"),
        ([options(sampling=9)], "InvalidOption", "got 9"),
    ],
)
def test_malformed_calls_are_refused(
    small_gateway: Listening, requests: list[Any], error: str, text: str
) -> None:
    refused = refusal_of(str(small_gateway.grpc), requests)
    assert (refused.code, refused.error) == ("INVALID_ARGUMENT", error)
    assert text in refused.details


def test_bytes_that_are_no_message_are_refused(small_gateway: Listening) -> None:
    for sent, text in (([b"\xff\xff"], "first message"), ([b"\x0a\x00", b"\x12\xff"], "after the options")):
        with grpc.insecure_channel(str(small_gateway.grpc)) as channel, pytest.raises(grpc.RpcError) as error:
            list(channel.stream_stream("/deepfake.v1.Detector/Detect")(iter(sent)))
        refused = refusal_in(error.value)
        assert (refused.code, refused.error) == ("INVALID_ARGUMENT", "UploadMalformed")
        assert f"{text}: got bytes that are no DetectRequest" in refused.details


def test_a_declared_size_over_the_limit_is_refused_before_the_bytes(small_gateway: Listening) -> None:
    sent: list[int] = []

    def endless() -> Iterator[Any]:
        yield options(size_bytes=MAX_UPLOAD_BYTES + 1)
        time.sleep(1)
        for index in range(10_000):
            sent.append(index)
            yield chunk(bytes(CHUNK_BYTES))

    refused = refusal_of(str(small_gateway.grpc), endless())
    assert (refused.code, refused.error) == ("RESOURCE_EXHAUSTED", "UploadTooLarge")
    assert str(MAX_UPLOAD_BYTES) in refused.details and not sent


def test_more_bytes_than_the_limit_are_refused(
    small_gateway: Listening, small_settings: GatewaySettings
) -> None:
    requests = (options() if index == 0 else chunk(bytes(CHUNK_BYTES)) for index in range(10_000))
    refused = refusal_of(str(small_gateway.grpc), requests)
    assert (refused.code, refused.error) == ("RESOURCE_EXHAUSTED", "UploadTooLarge")
    eventually(lambda: spooled(small_settings) == 0)


def test_a_message_over_the_limit_is_refused(
    small_gateway: Listening, small_settings: GatewaySettings
) -> None:
    refused = refusal_of(str(small_gateway.grpc), [options(), chunk(bytes(4 * 2**20 + 1))])
    assert refused.code == "RESOURCE_EXHAUSTED" and "4194304" in refused.details
    eventually(lambda: spooled(small_settings) == 0)


def test_a_compressed_message_over_the_limit_is_refused(
    small_gateway: Listening, small_settings: GatewaySettings
) -> None:
    """100 MB of zeros are some 100 kB on the way."""
    with grpc.insecure_channel(str(small_gateway.grpc)) as channel, pytest.raises(grpc.RpcError) as refused:
        bomb = iter([options(), chunk(bytes(100_000_000))])
        list(services.DetectorStub(channel).Detect(bomb, compression=grpc.Compression.Gzip))
    assert refusal_in(refused.value).code == "RESOURCE_EXHAUSTED"
    eventually(lambda: spooled(small_settings) == 0)


def test_a_call_canceled_while_it_uploads_leaves_nothing(
    small_gateway: Listening, small_settings: GatewaySettings, clip_bytes: bytes
) -> None:
    hold = threading.Event()

    def half() -> Iterator[Any]:
        yield options()
        yield chunk(clip_bytes[: len(clip_bytes) // 2])
        hold.wait(30)

    with grpc.insecure_channel(str(small_gateway.grpc)) as channel:
        pending = services.DetectorStub(channel).Detect(half())
        eventually(lambda: spooled(small_settings) == 1)
        pending.cancel()
        eventually(lambda: spooled(small_settings) == 0)
    hold.set()


@pytest.mark.parametrize("ending", ["cancel", "deadline", "disconnect"])
def test_the_end_of_a_call_cancels_its_job(
    small_gateway: Listening, small_settings: GatewaySettings, clip_bytes: bytes, ending: str
) -> None:
    canceled = metric(small_gateway, 'gateway_jobs_total{outcome="canceled"}')
    channel = grpc.insecure_channel(str(small_gateway.grpc))
    timeout_s = 1.5 if ending == "deadline" else None
    events = services.DetectorStub(channel).Detect(
        requests_of(clip_bytes, windows=64, frames=1), timeout=timeout_s
    )
    assert next(events).HasField("queued")
    if ending == "cancel":
        events.cancel()
    elif ending == "disconnect":
        channel.close()
    else:
        with pytest.raises(grpc.RpcError) as ended:
            list(events)
        assert refusal_in(ended.value).code == "DEADLINE_EXCEEDED"
    eventually(lambda: metric(small_gateway, 'gateway_jobs_total{outcome="canceled"}') == canceled + 1)
    eventually(lambda: metric(small_gateway, "gateway_jobs_running") == 0)
    assert spooled(small_settings) == 0
    channel.close()


def test_a_silent_caller_is_sent_away(
    small_gateway: Listening, small_settings: GatewaySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_pace, "IDLE_S", 0.3)
    hold = threading.Event()

    def silent(*first: Any) -> Iterator[Any]:
        yield from first
        hold.wait(30)

    for sent in ((), (options(),), (options(), chunk(b"x"))):
        refused = refusal_of(str(small_gateway.grpc), silent(*sent))
        assert (refused.code, refused.error) == ("INVALID_ARGUMENT", "UploadMalformed")
        assert "nothing came for 0.3 s" in refused.details
    hold.set()
    eventually(lambda: spooled(small_settings) == 0)


@pytest.mark.parametrize(("is_here", "error"), [(False, "GatewayBusy"), (True, "NotAVideo")])
def test_calls_that_say_nothing_keep_nobody_out(
    small_gateway: Listening, monkeypatch: pytest.MonkeyPatch, is_here: bool, error: str
) -> None:
    monkeypatch.setattr(servicer, "MAX_SILENT", 3)
    monkeypatch.setattr(servicer, "is_loopback", lambda _: is_here)
    hold = threading.Event()

    def silent() -> Iterator[Any]:
        hold.wait(30)
        yield from ()

    with grpc.insecure_channel(str(small_gateway.grpc)) as channel:
        waiting = [services.DetectorStub(channel).Detect(silent()) for _ in range(3)]
        time.sleep(0.2)
        eventually(lambda: refusal_of(str(small_gateway.grpc), requests_of(b"x")).error == error)
        for pending in waiting:
            pending.cancel()
    hold.set()
    eventually(lambda: refusal_of(str(small_gateway.grpc), requests_of(b"x")).error == "NotAVideo")


def test_an_error_of_the_gateway_itself_tells_nothing(
    small_gateway: Listening, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("secret-name.mp4")

    monkeypatch.setattr(servicer, "options_from_message", broken)
    refused = refusal_of(str(small_gateway.grpc), requests_of(b"x"))
    assert (refused.code, refused.error) == ("INTERNAL", None)
    assert "secret" not in refused.details and "secret" not in caplog.text
    assert "unexpected KeyError in a call of gRPC" in caplog.text


def test_a_key_is_needed(keyed_gateway: Any, clip_bytes: bytes) -> None:
    address = str(keyed_gateway.listening.grpc)
    for metadata in (
        [],
        [("authorization", "Bearer dft_wrong")],
        [("authorization", f"Basic {keyed_gateway.first}")],
        [("x-api-key", "wrong")],
        [("authorization-bin", keyed_gateway.first.encode())],
    ):
        refused = refusal_of(address, requests_of(clip_bytes), metadata=metadata)
        assert (refused.code, refused.error) == ("UNAUTHENTICATED", "Unauthenticated")
    for metadata in (
        [("authorization", f"Bearer {keyed_gateway.first}")],
        [("x-api-key", keyed_gateway.second)],
    ):
        *_, last = call(address, requests_of(clip_bytes, frames=5), metadata=metadata)
        assert last.verdict.faces


def test_a_limited_key_and_a_full_queue_say_when_to_retry(
    small_settings: GatewaySettings, tmp_path: Path, clip_bytes: bytes
) -> None:
    limits = replace(small_settings.limits, max_running=1, max_queued=0)
    settings = replace(small_settings, limits=limits, api_keys=tmp_path / "keys")
    patient, hasty = (
        [("authorization", f"Bearer {create_key(tmp_path / 'keys', name, rate=rate)}")]
        for name, rate in (("patient", ""), ("hasty", "1/hour"))
    )
    with running_gateway(settings) as gateway, grpc.insecure_channel(str(gateway.grpc)) as channel:
        refusal_of(str(gateway.grpc), requests_of(b"x"), metadata=hasty)  # admitted, and no video
        limited = refusal_of(str(gateway.grpc), requests_of(b"x"), metadata=hasty)
        running = services.DetectorStub(channel).Detect(
            requests_of(clip_bytes, windows=64, frames=1), metadata=patient
        )
        assert next(running).HasField("queued")
        busy = refusal_of(str(gateway.grpc), requests_of(b"x"), metadata=patient)
        running.cancel()
    assert (busy.code, busy.error) == ("UNAVAILABLE", "GatewayBusy")
    assert int(busy.retry_after_s or 0) >= 1
    assert (limited.code, limited.error) == ("RESOURCE_EXHAUSTED", "RateLimited")
    assert 3000 < int(limited.retry_after_s or 0) <= 3600
