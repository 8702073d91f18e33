"""All calls of one client, whichever server they go to, and which of them are still on their way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from deepfake_triton.client.connection import Call, Connection, Reply
from deepfake_triton.client.connection_options import ConnectionOptions
from deepfake_triton.client.steps import Flow, Wait
from deepfake_triton.errors import DeadlineExceeded, ServerUnreachable


class Calls:
    """Connections to the servers of a client. Usable from many threads and event loops."""

    def __init__(self, urls: Sequence[str], options: ConnectionOptions) -> None:
        """Raises PermissionDenied when a file of the certificates is not there."""
        self.closed = False
        self._connections = {url: Connection(url, options) for url in urls}
        self._on_their_way: set[Reply] = set()
        self._lock = threading.Lock()

    def start(self, call: Call, on_end: Callable[[bool], None] = lambda _: None) -> Reply:
        """Send a request; see Connection.start. Raises ServerUnreachable on a client that was closed."""
        reply = Reply()
        with self._lock:  # whoever closes sees this call, or this one sees that
            if self.closed and not call.cleanup:
                raise ServerUnreachable(f"{call.url}: this client was closed")
            self._on_their_way.add(reply)
        reply.add_done_callback(self._ended)
        try:
            self._connections[call.url].start(call, reply, on_end)
        except ServerUnreachable as error:
            reply.set_exception(error)
            raise
        return reply

    def shut(self) -> bool:
        """Start nothing any more but cleanup; False when that was so already."""
        with self._lock:
            was_open, self.closed = not self.closed, True
            return was_open

    def made(self, call: Call) -> Flow[Any]:
        """Make a call that any server may be asked to cancel. Raises ServerError."""
        reply = self.start(call)
        if not (yield Wait((reply,), call.timeout_s)):
            raise DeadlineExceeded(f"{call.url}: no answer within {call.timeout_s:.3g} s")
        return reply.result()

    def on_their_way(self) -> tuple[Future[Any], ...]:
        """Replies that are still to come, also those that nobody waits for."""
        with self._lock:
            return tuple(self._on_their_way)

    def close(self) -> None:
        """End the connections, and whatever is still on its way."""
        for connection in self._connections.values():
            connection.close()

    def _ended(self, reply: Future[Any]) -> None:
        with self._lock:
            self._on_their_way.discard(reply)
