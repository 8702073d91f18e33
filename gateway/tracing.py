"""Spans of the gateway, and of the client in it, sent to an OpenTelemetry collector."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from deepfake_triton.errors import MissingDependency

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExportResult

SERVICE_NAME = "deepfake-gateway"
_EXPORT_TIMEOUT_S = 5.0
"""Longest wait for a collector, also at the end of the gateway."""


@contextmanager
def exported_spans(endpoint: str | None, *, rate: int) -> Iterator[None]:
    """Send this process's spans to `endpoint` (OTLP, protobuf over HTTP); None: make none.

    One of `rate` jobs is traced, and those whose caller traces them. Ends once the last spans are sent, or
    given up. The provider is the process's own: one gateway of a process at most may have an endpoint.

    Raises:
        MissingDependency: The extra `otlp` is not installed.
    """
    if endpoint is None:
        yield
        return
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk import resources
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
    except ImportError as error:
        raise MissingDependency(
            f"--trace-endpoint needs {error.name}: pip install 'deepfake-triton[otlp]'"
        ) from error

    class Exporter(OTLPSpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            return super().export([_without_names(span) for span in spans])

    provider = TracerProvider(
        sampler=ParentBasedTraceIdRatio(1 / rate),
        resource=resources.Resource.create({resources.SERVICE_NAME: SERVICE_NAME}),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(Exporter(endpoint=endpoint, timeout=_EXPORT_TIMEOUT_S)))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        provider.shutdown()


def _without_names(span: ReadableSpan) -> ReadableSpan:
    """Return the span without what may name an upload: its file's name, and messages of errors, which begin
    with it."""
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Status

    attributes = {name: value for name, value in (span.attributes or {}).items() if name != "video"}
    for event in span.events:
        if event.attributes and "exception.type" in event.attributes:
            attributes["error.type"] = event.attributes["exception.type"]
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=attributes,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )
