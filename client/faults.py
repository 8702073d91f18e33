"""From what gRPC reports to this project's typed errors."""

from __future__ import annotations

import re

from tritonclient.utils import InferenceServerException

from deepfake_triton.errors import (
    DeadlineExceeded,
    InferenceFailed,
    ModelRestarting,
    ModelUnavailable,
    PermissionDenied,
    ServerError,
    ServerOverloaded,
    ServerUnreachable,
    SharedMemoryInUse,
    SharedMemoryLost,
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
)
REPEATABLE = (ServerUnreachable, ServerOverloaded, ModelRestarting)
"""What another server, or the same one a little later, may answer; inference changes nothing anywhere."""


def server_error(error: InferenceServerException, url: str, timeout_s: float) -> ServerError:
    """The typed error for a failed call to the server at `url`, with what to do about it."""
    status, text = str(error.status() or ""), str(error.message() or "").strip()
    line = text.splitlines()[0].rstrip(".") if text else "no reason given"
    for pattern, kind, advice in _BY_TEXT:
        if pattern.search(text):
            return kind(f"{url}: {line}; {advice}")
    if "DEADLINE_EXCEEDED" in status or _EXPIRED.search(text):
        return DeadlineExceeded(
            f"{url}: no answer within {timeout_s:g} s; raise the time-out or send fewer frames"
        )
    if "UNAUTHENTICATED" in status or "PERMISSION_DENIED" in status:
        return PermissionDenied(f"{url}: {line}; send a token that this server takes")
    if "UNAVAILABLE" in status and _CONNECTION_LOST.search(text):
        return ServerUnreachable(f"{url}: no server answers ({line}); is deepfake-triton serve running?")
    return InferenceFailed(f"{url}: {line}")
