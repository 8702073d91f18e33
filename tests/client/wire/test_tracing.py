"""Traces and logs of requests, as a server and an operator see them."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent import futures
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from deepfake_triton.client import (
    AsyncDeepfakeClient,
    DeepfakeClient,
    FrameBatch,
    FrameSelection,
    RetryPolicy,
    Transport,
    trace_context,
)
from deepfake_triton.client.wire.request_log import LOGGER
from deepfake_triton.errors import DeepfakeError, InvalidTrace
from deepfake_triton.serving.server import ServerOptions, TritonServer

PARENT = f"00-{'4b' * 16}-{'7a' * 8}-01"
COMMAND = str(Path(sys.executable).with_name("deepfake-triton"))


class Listener(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Hears what callers send along, and answers nobody."""

    def __init__(self) -> None:
        self.heard: list[dict[str, str]] = []

    def service(self, handler_call_details: Any) -> Any:
        if handler_call_details.method.endswith("/ModelInfer"):
            self.heard.append(dict(handler_call_details.invocation_metadata))
        return None


@pytest.fixture
def listener() -> Iterator[tuple[str, Listener]]:
    handler = Listener()
    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}", handler
    server.stop(None)


def asked(url: str, frames: FrameBatch) -> None:
    with (
        DeepfakeClient(url, retry=RetryPolicy(attempts=1), transport=Transport.GRPC) as client,
        pytest.raises(DeepfakeError),
    ):
        client.faces(frames)


@pytest.mark.fast
def test_the_callers_trace_reaches_the_server(
    listener: tuple[str, Listener], clip_frames: FrameBatch
) -> None:
    url, handler = listener
    asked(url, clip_frames)
    with trace_context(PARENT, "vendor=1"):
        asked(url, clip_frames)
    asked(url, clip_frames)
    assert [heard.get("traceparent") for heard in handler.heard] == [None, PARENT, None]
    assert handler.heard[1]["tracestate"] == "vendor=1"


@pytest.mark.fast
@pytest.mark.parametrize(
    "text",
    [
        "",
        "00-1-2-03",
        f"00-{'0' * 32}-{'7a' * 8}-01",
        PARENT.upper(),
        PARENT + "\n",
        PARENT + "-é",
        PARENT + "-\x01",
    ],
)
def test_what_is_no_trace_is_refused(text: str) -> None:
    with pytest.raises(InvalidTrace), trace_context(text):
        pass


@pytest.fixture(scope="module")
def spans() -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.mark.triton
def test_spans_for_decoding_transport_and_inference(
    client: DeepfakeClient, clip_path: Path, spans: InMemorySpanExporter
) -> None:
    with trace.get_tracer("caller").start_as_current_span("caller") as caller:
        client.detect(clip_path, FrameSelection(5, windows=3))
    found = [span for span in spans.get_finished_spans() if span.name != "caller"]
    names = [span.name.removeprefix("deepfake_triton.") for span in found]
    assert (names.count("transport"), names.count("infer")) == (3, 3) and names.count("decode") >= 3
    wanted = caller.get_span_context()
    assert {span.context.trace_id for span in found} == {wanted.trace_id}
    assert {span.parent.span_id for span in found if span.parent} == {wanted.span_id}


@pytest.mark.fast
def test_the_current_span_is_what_the_server_hears(
    listener: tuple[str, Listener], clip_frames: FrameBatch, spans: InMemorySpanExporter
) -> None:
    url, handler = listener
    with trace.get_tracer("caller").start_as_current_span("caller") as caller:
        asked(url, clip_frames)
    (heard,) = handler.heard
    assert heard["traceparent"].split("-")[1] == f"{caller.get_span_context().trace_id:032x}"


@pytest.mark.triton
def test_each_request_is_logged_with_its_id(
    *, client: DeepfakeClient, clip_path: Path, clip_frames: FrameBatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, LOGGER.name):
        client.detect(clip_path, FrameSelection(5, windows=2))
        asyncio.run(_asked_asynchronously(clip_frames))
    records = [record.__dict__["deepfake_triton"] for record in caplog.records if record.name == LOGGER.name]
    answered = [record for record in records if record["error"] is None]
    failed = [record for record in records if record["error"]]
    assert [record["frames"] for record in answered] == [5, 5]
    assert {record["error"] for record in failed} == {"ServerUnreachable"}
    assert len({record["request_id"] for record in records}) == len(records)


@pytest.mark.triton
def test_nobody_is_told_who_did_not_ask(clip_path: Path) -> None:
    done = subprocess.run(
        [COMMAND, "detect", str(clip_path), "--url", "127.0.0.1:1", "--attempts", "1"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1


async def _asked_asynchronously(frames: FrameBatch) -> None:
    retry = RetryPolicy(attempts=1)
    async with AsyncDeepfakeClient("127.0.0.1:1", retry=retry, transport=Transport.GRPC) as asking:
        with pytest.raises(DeepfakeError):
            await asking.faces(frames)


@pytest.mark.triton
def test_the_id_stands_in_the_servers_log_too(
    published_repository: Path, two_people: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = replace(ServerOptions.on_free_ports(published_repository), log_level="info")
    with TritonServer(options) as server:
        done = subprocess.run(
            [COMMAND, "detect", str(two_people), "--url", server.url, "--log", "json"],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
            env={**os.environ, "TRACEPARENT": PARENT},
        )
    (logged,) = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert logged["event"] == "request" and logged["level"] == "info" and logged["frames"] == 20
    said = [line for line in capfd.readouterr().err.splitlines() if logged["request_id"] in line]
    assert said, "the server's log names the request"
    record = json.loads(said[0][said[0].index("{") : said[0].rindex("}") + 1].replace('\\"', '"'))
    assert (record["event"], record["frames"], record["faces"]) == ("tracked", 20, 2)
