"""From what gRPC reports to this project's typed errors."""

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
        "`serve` starts it again, ask later or another server",
    ),
    (
        re.compile(r"unknown model|is not found|is not ready|not at ready state"),
        ModelUnavailable,
        "serve a repository that deepfake-triton export wrote",
    ),
    (
        re.compile(r"exceeds maximum queue size", re.IGNORECASE),
        ServerOverloaded,
        "ask later, or another server",
    ),
    (
        re.compile(r"(increase|grow) the shared memory pool|shared memory.*no space left", re.IGNORECASE),
        ServerOverloaded,
        "its /dev/shm is full: ask another server, or give that one more (docker run --shm-size)",
    ),
    (
        re.compile(r"unable to find (system )?shared memory region", re.IGNORECASE),
        SharedMemoryLost,
        "it has restarted, lend it memory again",
    ),
    (
        re.compile(r"cannot unregister .* currently in use", re.IGNORECASE),
        SharedMemoryInUse,
        "ask again when its request has ended",
    ),
    (
        re.compile(r"protocol is restricted"),
        PermissionDenied,
        "this server keeps that call to itself",
    ),
    (
        re.compile(r"Failed parsing HTTP/2", re.IGNORECASE),
        WrongEndpoint,
        "another protocol is spoken there: name the gRPC port (8001 where nothing else was chosen)",
    ),
    (
        re.compile(r"CERTIFICATE_VERIFY_FAILED", re.IGNORECASE),
        WrongEndpoint,
        "its certificate is not by an authority that is trusted here: name that one (--ca)",
    ),
    (
        re.compile(r"WRONG_VERSION_NUMBER", re.IGNORECASE),
        WrongEndpoint,
        "it does not encrypt: leave TLS out",
    ),
    (
        re.compile(r"(CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE|BAD_CERTIFICATE|UNKNOWN_CA)", re.IGNORECASE),
        WrongEndpoint,
        "it asks for a certificate of a client: name one (--key, --certificate)",
    ),
)
REPEATABLE = (ServerUnreachable, ServerOverloaded, ModelRestarting)
"""What another server, or the same one a little later, may answer; inference changes nothing anywhere."""


def server_error(status: str, text: str, url: str, timeout_s: float) -> ServerError:
    """The typed error for a failed call to the server at `url`, with what to do about it.

    `status` is the name of gRPC's code, such as UNAVAILABLE; `timeout_s` the call's time-out.
    """
    text = text.strip()
    line = text.splitlines()[0].rstrip(".") if text else "no reason given"
    for pattern, kind, advice in _BY_TEXT:
        if pattern.search(text):
            return kind(f"{url}: {line}; {advice}")
    if status == "DEADLINE_EXCEEDED" or _EXPIRED.search(text):
        return DeadlineExceeded(
            f"{url}: no answer within {timeout_s:g} s; raise the time-out or send fewer frames"
        )
    if status in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        return PermissionDenied(f"{url}: {line}; send a token that this server takes")
    if status == "CANCELLED" or (status == "UNAVAILABLE" and _CONNECTION_LOST.search(text)):
        return ServerUnreachable(f"{url}: no server answers ({line}); is deepfake-triton serve running?")
    if status == "INVALID_ARGUMENT":
        return InvalidRequest(f"{url}: {line}")
    return InferenceFailed(f"{url}: {line}")
