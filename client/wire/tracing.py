"""Trace context of the caller, propagated to the server (W3C Trace Context), and OpenTelemetry spans if
installed.

https://www.w3.org/TR/trace-context/
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

from deepfake_triton.errors import InvalidTrace

try:
    from opentelemetry import context, propagate, trace
except ImportError:  # the extra `tracing` is not installed: nothing but the caller's own header is passed on
    context = propagate = trace = None  # type: ignore[assignment]

_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]*)?"
)
_given: ContextVar[Mapping[str, str] | None] = ContextVar("deepfake_triton_trace", default=None)


def is_traceparent(text: str) -> bool:
    """Whether it is a well-formed W3C header."""
    return bool(_TRACEPARENT.fullmatch(text))


@contextmanager
def trace_context(traceparent: str, tracestate: str | None = None) -> Iterator[None]:
    """Send these headers with every request made inside; OpenTelemetry's spans continue their trace.

    Args:
        traceparent: W3C header with trace and parent span.
        tracestate: W3C header of tracing vendors.

    Raises:
        InvalidTrace: A header is malformed.
    """
    if not is_traceparent(traceparent):
        raise InvalidTrace(f"traceparent: got {traceparent!r}, expected such as 00-{'4' * 32}-{'7' * 16}-01")
    if tracestate and not (tracestate.isascii() and tracestate.isprintable()):
        raise InvalidTrace(f"tracestate: got {tracestate!r:.100}, expected one line of printable ASCII")
    headers = {"traceparent": traceparent, **({"tracestate": tracestate} if tracestate else {})}
    token = _given.set(headers)
    attached = None if propagate is None else context.attach(propagate.extract(headers))
    try:
        yield
    finally:
        if attached is not None:
            context.detach(attached)
        _given.reset(token)


def trace_headers() -> dict[str, str]:
    """Return the headers of a request made now: OpenTelemetry's current span, or those of `trace_context`.

    None for a trace that is not sampled: Triton 2.51 traces every request with a parent, whatever its flag.
    """
    carrier: dict[str, str] = {}
    if propagate is not None:
        propagate.inject(carrier)
    headers = carrier if "traceparent" in carrier else dict(_given.get() or {})
    return headers if _is_sampled(headers.get("traceparent", "")) else {}


def _is_sampled(traceparent: str) -> bool:
    """Whether the header, if there is one, says so in its flags."""
    flags = traceparent.split("-")[3:4]
    return bool(flags) and bool(int(flags[0], 16) & 1)


def span(name: str, **attributes: str | int | float) -> AbstractContextManager[Any]:
    """Start a child of the current span; nothing without OpenTelemetry."""
    if trace is None:
        return nullcontext()
    tracer = trace.get_tracer("deepfake_triton.client")
    return tracer.start_as_current_span(f"deepfake_triton.{name}", attributes=attributes)
