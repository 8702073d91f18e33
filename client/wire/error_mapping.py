"""Typed errors from the status and text that gRPC reports."""

from __future__ import annotations

import re

from deepfake_triton.errors import (
    DeadlineExceeded,
    InferenceFailed,
    InvalidRequest,
    ModelRestarting,
    ModelUnavailable,
    PermissionDenied,
    ServerError,
    ServerOverloaded,
    ServerUnreachable,
    SharedMemoryInUse,
    SharedMemoryLost,
    WrongEndpoint,
)
from deepfake_triton.host.addresses import proxy_for, split_host_port

_CONNECTION_LOST = re.compile(
    r"connect|socket|closed|closing|reset|resol|refused|goaway|keepalive|broken pipe|transport|stream removed"
    r"|recvmsg|unreachable|server is stopping|too_many_pings",
    re.IGNORECASE,
)
_EXPIRED = re.compile(r"timeout expired", re.IGNORECASE)
# Triton 2.51 answers UNAVAILABLE for all of these, which is a dead server's status too: the text tells.
_BY_TEXT: tuple[tuple[re.Pattern[str], type[ServerError], str], ...] = (
    (
        re.compile(r"stub process .*(not healthy|unhealthy)", re.IGNORECASE),
        ModelRestarting,
        "`serve` starts it again; retry later, or use another server",
    ),
    (
        re.compile(r"unknown model|is not found|is not ready|not at ready state"),
        ModelUnavailable,
        "serve a repository that deepfake-triton export wrote",
    ),
    (
        re.compile(r"exceeds maximum queue size", re.IGNORECASE),
        ServerOverloaded,
        "retry later, or use another server",
    ),
    (
        re.compile(r"(increase|grow) the shared memory pool|shared memory.*no space left", re.IGNORECASE),
        ServerOverloaded,
        "its /dev/shm is full: use another server, or give that one more (docker run --shm-size)",
    ),
    (
        re.compile(r"unable to find (system )?shared memory region", re.IGNORECASE),
        SharedMemoryLost,
        "it has restarted: register the memory again",
    ),
    (
        re.compile(r"cannot unregister .* currently in use", re.IGNORECASE),
        SharedMemoryInUse,
        "retry when its request has ended",
    ),
    (
        re.compile(r"protocol is restricted"),
        PermissionDenied,
        "this server restricts that call",
    ),
    (
        re.compile(r"Failed parsing HTTP/2", re.IGNORECASE),
        WrongEndpoint,
        "another protocol is spoken there: name the gRPC port (8001 by default)",
    ),
    (
        re.compile(r"CERTIFICATE_VERIFY_FAILED", re.IGNORECASE),
        WrongEndpoint,
        "its certificate is not by an authority that is trusted here: name that authority (--ca)",
    ),
    (
        re.compile(r"WRONG_VERSION_NUMBER", re.IGNORECASE),
        WrongEndpoint,
        "it does not encrypt: leave TLS out",
    ),
    (
        re.compile(r"(CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE|BAD_CERTIFICATE|UNKNOWN_CA)", re.IGNORECASE),
        WrongEndpoint,
        "it requires a client certificate: name one (--key, --certificate)",
    ),
)
RETRYABLE = (ServerUnreachable, ServerOverloaded, ModelRestarting)
"""Errors after which another server, or the same one later, may answer; inference is idempotent."""


def server_error(status: str, text: str, *, url: str, timeout_s: float) -> ServerError:
    """Return the typed error for a failed call to the server at `url`, with what to do about it.

    `status` is the name of gRPC's code, such as UNAVAILABLE; `timeout_s` the call's time-out.
    """
    text = text.strip()
    line = text.splitlines()[0].rstrip(".") if text else "no reason given"
    for pattern, kind, advice in _BY_TEXT:
        if pattern.search(text):
            return kind(f"{url}: {line}; {advice}")
    if status == "DEADLINE_EXCEEDED" or _EXPIRED.search(text):
        return DeadlineExceeded(
            f"{url}: no answer within {time_text(timeout_s)}; raise the time-out or send fewer frames"
        )
    if status in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        return PermissionDenied(f"{url}: {line}; send a token that this server accepts")
    if status == "CANCELLED" or (status == "UNAVAILABLE" and _CONNECTION_LOST.search(text)):
        return ServerUnreachable(f"{url}: no server answers ({line}); {_advice(url)}")
    if status == "INVALID_ARGUMENT":
        return InvalidRequest(f"{url}: {line}")
    return InferenceFailed(f"{url}: {line}")


def time_text(seconds: float) -> str:
    """Format a time for messages, such as `3.97 s`."""
    return f"{float(f'{seconds:.3g}'):g} s"


def closes_at_once(error: ServerUnreachable) -> bool:
    """Whether something accepted the connection and closed it, such as a server that expects TLS."""
    text = str(error)
    return "failed to connect" in text and bool(re.search(r"socket closed|reset|EOF", text, re.IGNORECASE))


def _advice(url: str) -> str:
    proxy = proxy_for(url)
    if proxy is None:
        return "is deepfake-triton serve running?"
    return (
        f"the proxy that {proxy} names is on the way: add {split_host_port(url)[0]} to no_proxy, or is "
        "deepfake-triton serve not running?"
    )
