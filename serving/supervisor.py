"""Keeps a tritonserver running: starts it again, on the same ports, when it died or lost a model."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from deepfake_triton.errors import InvalidRepository, ServerFailed
from deepfake_triton.serving.options import ServerOptions
from deepfake_triton.serving.ports import ReservedEndpoints
from deepfake_triton.serving.server import TritonServer

MAX_LOSSES, LOSS_PERIOD_S = 3, 600.0
"""More losses within the period are reported as a failure."""
RESTART_DELAY_S = 1.0

logger = logging.getLogger(__name__)


class Supervisor:
    """One server on reserved endpoints, and its restarts."""

    def __init__(
        self,
        options: ServerOptions,
        endpoints: ReservedEndpoints,
        on_ready: Callable[[TritonServer], None],
    ) -> None:
        """`on_ready` is called with each server once it is ready."""
        self._options = options
        self._endpoints = endpoints
        self._on_ready = on_ready
        self._server: TritonServer | None = None
        self._stopping = threading.Event()

    def run(self) -> None:
        """Serve until `stop`, or until an exception, such as that of a signal handler, ends the server.

        Raises ServerFailed when Triton ends in good order without being asked to, does not start, or is lost
        too often, and InvalidRepository when the repository was changed before a restart.
        """
        losses_s: list[float] = []
        failed_starts = 0
        reason: str | None = None
        while True:
            try:
                self._server = self._start(reason)
                with self._server as server:
                    self._on_ready(server)
                    failed_starts = 0
                    reason = server.wait(self._stopping)
            except ServerFailed as error:
                if self._stopping.is_set():
                    return
                failed_starts += 1
                if not losses_s:
                    raise
                reason = str(error)
                time.sleep(RESTART_DELAY_S)
            if self._stopping.is_set():
                return
            if reason is None:
                raise ServerFailed("tritonserver ended by itself, in good order: another process stopped it")
            now_s = time.monotonic()
            losses_s = [lost_s for lost_s in losses_s if now_s - lost_s < LOSS_PERIOD_S] + [now_s]
            if len(losses_s) > MAX_LOSSES or failed_starts > MAX_LOSSES:
                raise ServerFailed(f"{reason}; {len(losses_s)} times in {LOSS_PERIOD_S:g} s")
            logger.warning("%s: starting it again", reason)

    def stop(self) -> None:
        """Let `run`, in another thread, drain the server and return; one that is not ready yet is killed."""
        self._stopping.set()
        if self._server is not None and not self._server.was_ready:
            self._server.signal_end()

    def signal_end(self) -> None:
        """Kill the server without waiting; safe in signal handlers."""
        if self._server is not None:
            self._server.signal_end()

    def _start(self, lost_for: str | None) -> TritonServer:
        """Start a server, after one that was `lost_for` that reason."""
        try:
            return TritonServer(self._options, self._endpoints)
        except InvalidRepository as error:
            raise InvalidRepository(
                f"{lost_for}, and is not started again: {error}" if lost_for else str(error)
            ) from error
