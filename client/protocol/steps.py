"""Steps of a flow: what it yields, and what its sender sends back.

A flow is a generator without I/O. Its sender carries out each step and sends its result, None when the time
of the step is over first, or throws the ServerError that it ended with.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from google.protobuf.message import Message

from deepfake_triton.client.protocol.lease import Lease
from deepfake_triton.client.wire.error_mapping import time_text
from deepfake_triton.errors import DeadlineExceeded

T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    """Make a unary call to Triton's GRPCInferenceService; its result is the reply.

    The flow waits `timeout_s` for the reply. A call that nobody waits for any more is cancelled if that is
    safe (`cancellable`), else its gRPC deadline ends it, `linger_s` later. The `lease` is released when the
    call has ended. A `cleanup` call is made by a closing client, too.
    """

    url: str
    request: Message
    timeout_s: float
    headers: Mapping[str, str] = field(default_factory=dict)
    linger_s: float = 0.0
    lease: Lease | None = None
    cancellable: bool = False
    cleanup: bool = False

    @property
    def method(self) -> str:
        """Name of the call in the service, such as `ModelInfer` for a ModelInferRequest."""
        return type(self.request).__name__.removesuffix("Request")


@dataclass(frozen=True)
class Pause:
    """Wait for `seconds`; no result."""

    seconds: float


@dataclass(frozen=True)
class WaitForSlot:
    """Wait for a slot of `max_in_flight`; the result is True."""

    slot: Future[bool]
    timeout_s: float


@dataclass(frozen=True)
class Probe:
    """Find out what answers at an address that does not speak gRPC; the result is a WrongEndpoint, or
    None."""

    url: str
    timeout_s: float


@dataclass(frozen=True)
class Drain:
    """Wait until no call is on its way; no result."""

    timeout_s: float


Step = Call | Pause | WaitForSlot | Probe | Drain
Flow = Generator[Step, Any, T]


def reply_to(call: Call) -> Flow[Any]:
    """Make a call and return its reply. Raises ServerError, DeadlineExceeded when none came in time."""
    reply = yield call
    if reply is None:
        raise DeadlineExceeded(f"{call.url}: no answer within {time_text(call.timeout_s)}")
    return reply
