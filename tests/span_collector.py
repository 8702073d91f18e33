"""A collector of OpenTelemetry spans for tests: OTLP over HTTP, as JSON (Triton) or protobuf (Python)."""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

CALLER, ATTEMPTS = "7a" * 8, 5
"""A caller's span; requests until one of them is traced."""
REQUEST = "InferRequest"
"""Triton's span of one request, the last of a request that it ends."""


@dataclass(frozen=True)
class Span:
    """One span: hexadecimal ids, without a parent the empty one."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    service: str
    text: str = field(repr=False)
    """All of it, attributes and events included."""


@dataclass
class SpanCollector:
    """The spans that were posted so far."""

    url: str = ""
    spans: list[Span] = field(default_factory=list)

    def of_trace(self, trace_id: str) -> list[Span]:
        """The spans of one trace."""
        return [span for span in self.spans if span.trace_id == trace_id]

    def with_request(self, trace_id: str, timeout_s: float = 15) -> list[Span]:
        """The spans of a trace, once Triton has sent its own, each second; [] if it does not."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            spans = self.of_trace(trace_id)
            if any(span.name == REQUEST for span in spans):
                return spans
            time.sleep(0.1)
        return []

    def traced_by_triton(self, ask: Callable[[str], object]) -> str:
        """The id of a trace whose request Triton has traced, too; `ask` makes one with this `traceparent`.

        Triton 2.51 now and then takes a header for none: it reads on behind its end.
        """
        for _ in range(ATTEMPTS):
            trace_id = secrets.token_hex(16)
            ask(f"00-{trace_id}-{CALLER}-01")
            if self.with_request(trace_id):
                return trace_id
        raise AssertionError(f"{ATTEMPTS} requests, and Triton traced none: {self.spans}")

    def add(self, posted: dict[str, Any]) -> None:
        for resource in posted["resourceSpans"]:
            attributes = {
                each["key"]: each["value"].get("stringValue") for each in resource["resource"]["attributes"]
            }
            for scope in resource["scopeSpans"]:
                self.spans += [
                    Span(
                        span["name"],
                        span["traceId"].lower(),
                        span["spanId"].lower(),
                        span.get("parentSpanId", "").lower(),
                        str(attributes.get("service.name")),
                        json.dumps(span),
                    )
                    for span in scope["spans"]
                ]


def _from_protobuf(body: bytes) -> dict[str, Any]:
    """The same as JSON, where ids are hexadecimal, other than in protobuf's own JSON."""
    request = ExportTraceServiceRequest.FromString(body)
    posted: dict[str, Any] = MessageToDict(request)
    for resource in posted["resourceSpans"]:
        for span in (span for scope in resource["scopeSpans"] for span in scope["spans"]):
            for name in ("traceId", "spanId", "parentSpanId"):
                span[name] = base64.b64decode(span.get(name, "")).hex()
    return posted


@contextmanager
def collecting_spans() -> Iterator[SpanCollector]:
    """A collector on a free port."""
    collector = SpanCollector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            is_json = self.headers["content-type"].startswith("application/json")
            collector.add(json.loads(body) if is_json else _from_protobuf(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.url = f"http://127.0.0.1:{server.server_port}/v1/traces"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()
