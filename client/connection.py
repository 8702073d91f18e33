"""The gRPC connection to one server: calls are started here, and whoever waits for one may stop waiting
without cancelling it.

Triton before 2.57 may crash when a `ModelInfer` is cancelled, by its caller or by its gRPC deadline
(triton-inference-server/server #7368 and #8034).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import Message
from tritonclient.grpc import service_pb2_grpc

from deepfake_triton.client.connection_options import ConnectionOptions
from deepfake_triton.client.faults import server_error
from deepfake_triton.errors import ServerUnreachable

FIRST_VERSION_THAT_CANCELS = (2, 57)
"""Triton of release 25.04, with both fixes."""
_SILENT_STATUS = ("DEADLINE_EXCEEDED", "CANCELLED")


@dataclass(frozen=True)
class Call:
    """A unary call: the method's name in Triton's GRPCInferenceService, its request and metadata.

    `timeout_s` is the gRPC deadline. A `cleanup` is made also by a client that closes.
    """

    url: str
    method: str
    request: Message
    timeout_s: float
    headers: Mapping[str, str] = field(default_factory=dict)
    cleanup: bool = False


class Reply(Future[Any]):
    """The reply to a call that was started, or its ServerError; done when the call has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.set_running_or_notify_cancel()
        self._rpc: grpc.Future | None = None

    def cancel_call(self) -> None:
        """Have the server stop working on it, where that is safe."""
        if self._rpc is not None:
            self._rpc.cancel()


class Connection:
    """A channel to one server, usable from many threads and event loops."""

    def __init__(self, url: str, options: ConnectionOptions) -> None:
        """Raises PermissionDenied when a file of the certificates is not there."""
        self.url = url
        self._channel = options.channel(url)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def start(self, call: Call, reply: Reply, on_end: Callable[[bool], None]) -> None:
        """Send the request. `on_end` is called before the reply is done, and is told whether the server has
        said that it is done with the request; not when there was no answer, or no connection any more.

        Raises ServerUnreachable when the channel is closed.
        """
        method = getattr(self._stub, call.method)
        try:
            rpc = method.future(call.request, timeout=call.timeout_s, metadata=tuple(call.headers.items()))
        except (ValueError, RuntimeError) as error:  # the channel was closed meanwhile, or the process ends
            raise ServerUnreachable(f"{self.url}: {error}") from error
        reply._rpc = rpc

        def ended(done: Any) -> None:
            error = None
            answered = done.code() is grpc.StatusCode.OK
            if not answered:
                status = done.code().name
                error = server_error(status, done.details() or "", self.url, call.timeout_s)
                answered = status not in _SILENT_STATUS and not isinstance(error, ServerUnreachable)
            on_end(answered)
            if error is None:
                reply.set_result(done.result())
            else:
                reply.set_exception(error)

        rpc.add_done_callback(ended)

    def close(self) -> None:
        """End the channel, and with it the calls that are still on their way. May be repeated."""
        self._channel.close()


def cancels_safely(server_version: str) -> bool:
    """Whether a Triton of that version, such as "2.51.0", survives cancelled requests; False if unknown."""
    found = re.match(r"(\d+)\.(\d+)", server_version)
    return found is not None and (int(found[1]), int(found[2])) >= FIRST_VERSION_THAT_CANCELS
