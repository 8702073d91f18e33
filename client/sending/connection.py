"""The gRPC connection to one address: starts calls; whoever stops waiting for one does not cancel it."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import grpc
from tritonclient.grpc import service_pb2_grpc

from deepfake_triton.client.protocol.steps import Call
from deepfake_triton.client.wire.connection_options import ConnectionOptions
from deepfake_triton.client.wire.error_mapping import server_error
from deepfake_triton.errors import ServerUnreachable

_NO_REPLY = ("DEADLINE_EXCEEDED", "CANCELLED")
"""Statuses after which the server may still be at work on the request."""


class Reply(Future[Any]):
    """The reply to a call that was started, or its ServerError; done when the call has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.set_running_or_notify_cancel()
        self._rpc: grpc.Future | None = None

    def cancel_call(self) -> None:
        """Tell the server to stop working on the call; see `Call.cancellable`."""
        if self._rpc is not None:
            self._rpc.cancel()


class Connection:
    """Channels to one address, usable from many threads and event loops.

    Of the servers behind a name, each channel takes the next for each call. Inference has one of its own, so
    that a retry meets the next server, however many calls about the model come between.
    """

    def __init__(self, url: str, options: ConnectionOptions) -> None:
        """Raises PermissionDenied when a certificate file is missing."""
        self.url = url
        self._channels = tuple(options.channel(url) for _ in ("inference", "other calls"))
        self._inference, self._others = map(service_pb2_grpc.GRPCInferenceServiceStub, self._channels)

    def start(self, call: Call, reply: Reply) -> None:
        """Send the request. The call's lease is released before the reply is done, as answered if the server
        has said that it is done with the request.

        Raises ServerUnreachable when the channel is closed.
        """
        stub = self._inference if call.method == "ModelInfer" else self._others
        method = getattr(stub, call.method)
        timeout_s = call.timeout_s + call.linger_s
        try:
            rpc = method.future(call.request, timeout=timeout_s, metadata=tuple(call.headers.items()))
        except (ValueError, RuntimeError) as error:  # the channel was closed meanwhile, or the process ends
            raise ServerUnreachable(f"{self.url}: {error}") from error
        reply._rpc = rpc

        def end(done: Any) -> None:
            error = None
            answered = done.code() is grpc.StatusCode.OK
            if not answered:
                status = done.code().name
                error = server_error(status, done.details() or "", url=self.url, timeout_s=timeout_s)
                answered = status not in _NO_REPLY and not isinstance(error, ServerUnreachable)
            if call.lease is not None:
                call.lease.release(answered=answered)
            if error is None:
                reply.set_result(done.result())
            else:
                reply.set_exception(error)

        rpc.add_done_callback(end)

    def close(self) -> None:
        """Close the channels, and end the calls that are still on their way. May be repeated."""
        for channel in self._channels:
            channel.close()
