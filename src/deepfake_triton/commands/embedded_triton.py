"""A Triton beside the gateway: started, restarted when it died, and ended, in a thread of its own."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from dataclasses import replace
from pathlib import Path
from types import FrameType

from deepfake_triton.errors import DeepfakeError, ServerFailed
from deepfake_triton.serving.options import ServerOptions
from deepfake_triton.serving.ports import ReservedEndpoints
from deepfake_triton.serving.supervisor import Supervisor


class EmbeddedTriton:
    """A Triton on free ports of loopback, from the start of the context to its end, which drains it; a signal
    meanwhile kills it, and still leaves nothing behind.

    Attributes:
        repository: The model repository that it serves.
        url: Its gRPC address, which stays the same when it is restarted.
        ready: Done when it first answers, or has failed.

    Raises:
        ServerFailed: No free port, or an address that Triton sends no spans to.
    """

    def __init__(
        self, repository: Path, *, trace_endpoint: str | None = None, trace_rate: int = 1000
    ) -> None:
        options = replace(
            ServerOptions.on_free_ports(repository), trace_endpoint=trace_endpoint, trace_rate=trace_rate
        )
        self.repository = repository
        self.ready: Future[None] = Future()
        self._endpoints = ReservedEndpoints(options)
        self.url = str(self._endpoints.grpc)
        self._supervisor = Supervisor(options, self._endpoints, lambda _server: self._set_ready(None))
        self._failure: DeepfakeError | None = None
        self._ended: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="triton", daemon=True)

    def when_ended(self, action: Callable[[], object]) -> None:
        """Call `action`, in any thread, when Triton is not started again; at once if that is so already."""
        self._ended.add_done_callback(lambda _ended: action())

    def raise_failure(self) -> None:
        """Raise why Triton is not started again, as a DeepfakeError, if that is so."""
        if self._failure is not None:
            raise self._failure

    def __enter__(self) -> EmbeddedTriton:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        with _signals_call(self._supervisor.signal_end):
            self._supervisor.stop()
            self._thread.join()
            self._endpoints.close()

    def _run(self) -> None:
        failure: DeepfakeError | None = ServerFailed(
            "Triton is not watched any more: a fault of this program"
        )
        try:
            self._supervisor.run()
            failure = None
        except DeepfakeError as error:
            failure = error
        except (OSError, RuntimeError) as error:  # such as no room for a file, or for one more thread
            failure = ServerFailed(f"Triton cannot be kept running: {error}")
        finally:
            self._failure = failure
            self._set_ready(failure or ServerFailed("Triton was stopped before it was ready"))
            self._ended.set_result(None)

    def _set_ready(self, failure: DeepfakeError | None) -> None:
        with contextlib.suppress(InvalidStateError):  # it is ready again, after a restart
            if failure is None:
                self.ready.set_result(None)
            else:
                self.ready.set_exception(failure)


@contextlib.contextmanager
def _signals_call(action: Callable[[], None]) -> Iterator[None]:
    """Have SIGTERM and SIGINT call `action`, so that neither ends what runs in the context."""

    def call(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
        action()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = {number: signal.signal(number, call) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
