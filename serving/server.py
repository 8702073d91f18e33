"""One tritonserver: started, awaited until it is ready, watched, drained and ended."""

from __future__ import annotations

import contextlib
import logging
import secrets
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from deepfake_triton.contracts import SHARED_MEMORY_KEY_VARIABLE, served_models
from deepfake_triton.errors import ServerFailed
from deepfake_triton.host.cpu import has_bf16, has_vnni
from deepfake_triton.repository.check import check_repository
from deepfake_triton.repository.integrity import cpu_warnings
from deepfake_triton.serving.access import Access, key_of_this_user
from deepfake_triton.serving.arguments import DRAIN_TIMEOUT_S, public_arguments
from deepfake_triton.serving.engines import cached_engines
from deepfake_triton.serving.http_api import HttpApi
from deepfake_triton.serving.installation.find import find_installation
from deepfake_triton.serving.installation.python_environment import write_python_environment
from deepfake_triton.serving.options import ServerOptions
from deepfake_triton.serving.ports import ReservedEndpoints
from deepfake_triton.serving.process.child import Child
from deepfake_triton.serving.process.connections import Connections
from deepfake_triton.serving.process.log_reader import LogReader
from deepfake_triton.serving.process.runtime_folder import RuntimeFolder, sweep_leftovers
from deepfake_triton.serving.process.watch import Watch, exit_reason, running_steps, signal_name

__all__ = ["ServerOptions", "TritonServer", "require_repository"]

POLL_S = 0.1
CHECK_S = 1.0
ANSWER_TIMEOUT_S = 5.0
"""Time for HTTP requests in flight when the server ends; inference was drained before."""
CLOSE_TIMEOUT_S = DRAIN_TIMEOUT_S + 5
"""Time to drain and end; Triton has the rest of what the requests in flight did not need."""
MAX_STARTS = 3
"""Starts of a Triton that aborts for a lock between its processes, as on a busy machine (server#8882)."""
_EVERY_MODEL = tuple(spec.name for spec in served_models(samples_frames=True))

logger = logging.getLogger(__name__)


class TritonServer:
    """A running tritonserver; a context manager that waits until it is ready, and drains and ends it.

    The kernel ends it with the thread that created it: create it in one that lives as long as the server.
    `endpoints` are those of a server that is restarted; without them, it reserves its own. Raises
    InvalidRepository, InvalidInstallation, PortInUse, MissingDependency, or ServerFailed with Triton's own
    reason.
    """

    def __init__(self, options: ServerOptions, endpoints: ReservedEndpoints | None = None) -> None:
        self._models = require_repository(options.repository, options.require_signature)
        self.options = options
        engines = cached_engines(options.repository, options.engine_cache)
        self.was_ready = self._has_warned_of_connections = False
        try:
            with contextlib.ExitStack() as undo:
                self.endpoints = endpoints or undo.enter_context(ReservedEndpoints(options))
                sweep_leftovers()
                self._folder = RuntimeFolder()
                undo.callback(self._folder.remove)
                self._folder.link_models(options.repository, self._models, engines)
                self.installation = find_installation(options.triton)
                self._python = write_python_environment(self._folder.path / "python", self._folder.models)
                self._launch()
                undo.callback(self.kill)
                self._undo = undo.pop_all()
        except (OSError, shutil.Error) as error:
            raise ServerFailed(f"tritonserver cannot be started: {error}") from error

    def _launch(self) -> None:
        """Start Triton from the runtime folder."""
        self._child, self.access = self._start_child()
        self.process = self._child.process
        http = self.endpoints.http
        self._http = HttpApi(http.address.to_connect, http.port, self.access.secret)
        self._connections = Connections(
            self.process.pid,
            self.grpc_port,
            (self.http_port, self.metrics_port),
            answers_quickly=not (self.access.http_inference or self.access.http_model_control),
        )
        shows_harmless = self.options.log_level != "error"
        self._log = LogReader(self.process, self.access.redact, shows_harmless=shows_harmless)

    def _start_child(self) -> tuple[Child, Access]:
        options, folder, installation = self.options, self._folder, self.installation
        environment = installation.environment(self._python)
        environment.pop(SHARED_MEMORY_KEY_VARIABLE, None)
        access = Access(
            options,
            http_is_loopback=self.endpoints.http.address.is_loopback,
            secret=secrets.token_urlsafe(16),
            shared_memory_key=options.shared_memory_key or key_of_this_user(),
        )
        # The user's key outlives this server, unlike the secret.
        without_user_key = replace(access, shared_memory_key=options.shared_memory_key)
        arguments = public_arguments(
            options, self.endpoints, folder, models=self._models, installation=installation
        )
        child = Child(
            [str(installation.executable), *arguments],
            access.secret_arguments(),
            environment,
            inherited=[folder.lock],  # while a process of Triton lives, nobody sweeps the folder
            shown=without_user_key.secret_arguments(),
        )
        return child, access if child.hides_secrets else without_user_key

    @property
    def url(self) -> str:
        """Address of gRPC, as clients take it."""
        return str(self.endpoints.grpc)

    @property
    def grpc_port(self) -> int:
        """Port of gRPC."""
        return self.endpoints.grpc.port

    @property
    def http_port(self) -> int:
        """Port of HTTP: health, metadata."""
        return self.endpoints.http.port

    @property
    def metrics_port(self) -> int:
        """Port of the Prometheus metrics."""
        return self.endpoints.metrics.port

    @property
    def shared_memory_prefix(self) -> str:
        """Prefix of the names of the server's own regions in /dev/shm."""
        return self._folder.shared_memory_prefix

    def wait_until_ready(self) -> None:
        """Return once Triton and all its models are ready. Raises ServerFailed with Triton's own reason."""
        if not self._child.hides_secrets:
            logger.warning(
                "ptrace is refused here: while the server starts, any user of this host can read its secret; "
                "shared memory is closed to this user's key"
            )
        deadline = time.monotonic() + self.options.start_timeout_s
        starts = 1
        while not self._http.is_ready():
            if (status := self.process.poll()) is not None:
                self._log.join()
                if status == -signal.SIGABRT and self._log.tells_lost_lock and starts < MAX_STARTS:
                    starts += 1
                    logger.warning("tritonserver lost a lock while starting: starting it again")
                    self.start_again()
                    continue
                ended = f"by {signal_name(-status)}: " if status < 0 else ""
                raise ServerFailed(f"tritonserver ended while starting: {ended}{self._log.failure_reason()}")
            if time.monotonic() > deadline:
                raise ServerFailed(
                    f"tritonserver was not ready after {self.options.start_timeout_s:g} s: "
                    f"{self._log.failure_reason()}"
                )
            if self._log.has_begun:  # it has read its options
                self._child.overwrite_secrets()
            time.sleep(POLL_S)
        self.was_ready = True
        if self._folder.close_shared_memory():
            logger.warning(
                "no seccomp filter is taken here: for a moment, other users could open the server's memory"
            )
        if not self._child.overwrite_secrets():
            logger.warning(
                "any user of this host can read the server's secret on its command line, and unload models"
            )

    def wait(self, stopping: threading.Event | None = None) -> str | None:
        """Watch the process, every second, until it has ended or has to be ended; return why to restart it.

        None where it ended by itself and in good order, or `stopping` was set.
        """
        expected = self._models if self.options.model_control == "none" else ()
        watch = Watch(self.process.pid, self._http, models=expected)
        while stopping is None or not stopping.is_set():
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self.process.wait(CHECK_S)
                self.kill()
                self._log.join()
                return exit_reason(status, self._log.failure_reason())
            self._folder.close_shared_memory()
            if self.options.model_control == "explicit":  # a version with further models may be activated
                self._folder.link_models(self.options.repository, _EVERY_MODEL)
            self._connections.end_idle()
            self._warn_once_of_connections()
            if reason := watch.check():
                self.kill()
                return reason
        return None

    def start_again(self) -> None:
        """Start Triton again on the same ports, after it died; `wait_until_ready` waits for it.

        Raises ServerFailed.
        """
        self.kill()
        self._folder.remove_shared_memory()
        try:
            self._launch()
        except OSError as error:
            raise ServerFailed(f"tritonserver cannot be started again: {error}") from error

    def close(self) -> None:
        """Drain accepted requests and end the server; kill it if both take longer than `CLOSE_TIMEOUT_S`.
        Idempotent."""
        kill_s = time.monotonic() + CLOSE_TIMEOUT_S
        if self.was_ready:
            self._drain_ensembles()
        steps = running_steps(self.process.pid)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        began_s = time.monotonic()
        while self.process.poll() is None and time.monotonic() < kill_s:
            self._connections.end_http(unanswered=time.monotonic() - began_s > self._answer_timeout_s)
            if not self.options.trace_endpoint and steps - running_steps(self.process.pid):
                break  # it has answered all requests, and unloads model by model, a second for each instance
            time.sleep(POLL_S)
        self.kill()  # a server that ends while it loads leaves its Python processes
        self._log.join()
        self._undo.close()

    def kill(self) -> None:
        """Kill the server and its Python processes, and wait until they have ended."""
        self._child.kill_group()

    def signal_end(self) -> None:
        """Kill them without waiting; safe in signal handlers."""
        self._child.signal_group()

    def __enter__(self) -> TritonServer:
        try:
            self.wait_until_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _answer_timeout_s(self) -> float:
        return DRAIN_TIMEOUT_S if self.access.http_inference else ANSWER_TIMEOUT_S

    def _warn_once_of_connections(self) -> None:
        if self._connections.is_refused and not self._has_warned_of_connections:
            self._has_warned_of_connections = True
            logger.warning(
                "idle connections cannot be ended here: pidfd_getfd is refused, as by the seccomp profile of "
                "containers (docker run --cap-add SYS_PTRACE)"
            )

    def _drain_ensembles(self) -> None:
        """Unload the ensembles, and return once their requests in flight are answered.

        On SIGTERM, Triton 2.51 stops all schedulers at once, and refuses the next step of an ensemble's
        request in flight. An ensemble that is unloaded takes no new request, and drains.
        """
        deadline = time.monotonic() + DRAIN_TIMEOUT_S
        unloaded: set[str] = set()
        while self.process.poll() is None and time.monotonic() < deadline:
            ensembles = self._http.loaded_ensembles()
            if ensembles == set():
                return
            for name in (ensembles or set()) - unloaded:
                self._http.unload(name)
                unloaded.add(name)
            time.sleep(POLL_S / 2)


def require_repository(folder: Path, public_key: Path | None = None) -> tuple[str, ...]:
    """Check a repository, and return its models.

    Raises InvalidRepository unless its files are as exported, and signed where `public_key` (PEM) is given.
    """
    checked = check_repository(folder, public_key=public_key)
    warnings = cpu_warnings(folder, exact=has_vnni(), has_bf16=has_bf16())
    for warning in (*checked.warnings, *warnings):
        logger.warning("%s", warning)
    return checked.models
