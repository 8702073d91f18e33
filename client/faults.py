"""From what gRPC reports to this project's typed errors."""

from __future__ import annotations

import re

from tritonclient.utils import InferenceServerException

from deepfake_triton.errors import (
    DeadlineExceeded,
    InferenceFailed,
    ModelUnavailable,
    ServerError,
    ServerUnreachable,
)

# Triton 2.51 answers UNAVAILABLE for a model that is not ready, which is a dead server's status too.
_CONNECTION_LOST = re.compile(
    r"connect|socket|closed|closing|reset|resol|refused|goaway|keepalive|broken pipe|transport|stream removed"
    r"|recvmsg|unreachable|server is stopping",
    re.IGNORECASE,
)
_NO_MODEL = re.compile(r"unknown model|is not found|is not ready|not at ready state")


def server_error(error: InferenceServerException, url: str, timeout_s: float) -> ServerError:
    """The typed error for a failed call to the server at `url`, with what to do about it."""
    status, text = str(error.status() or ""), str(error.message() or "").strip()
    if _NO_MODEL.search(text):
        return ModelUnavailable(f"{url}: {text}; serve a repository that deepfake-triton export wrote")
    # A full queue and a restricted call have this status too, from a server that is well.
    if "UNAVAILABLE" in status and _CONNECTION_LOST.search(text):
        return ServerUnreachable(
            f"{url}: no server answers ({_first_line(text)}); is deepfake-triton serve running?"
        )
    if "DEADLINE_EXCEEDED" in status:
        return DeadlineExceeded(
            f"{url}: no answer within {timeout_s:g} s; raise the time-out or send fewer frames"
        )
    return InferenceFailed(f"{url}: {_first_line(text)}")


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else "no reason given"
