"""One tritonserver process: started, watched until it is ready, drained and ended."""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from deepfake_triton.contracts import SHARED_MEMORY_KEY_VARIABLE, served_models
from deepfake_triton.cpu import adds_int8_exactly
from deepfake_triton.errors import ServerFailed, SharedMemoryKeyUnusable
from deepfake_triton.integrity import warnings_about
from deepfake_triton.repository_record import check_repository
from deepfake_triton.serving.addresses import Listening
from deepfake_triton.serving.arguments import DRAIN_TIMEOUT_S, Access, command_line
from deepfake_triton.serving.child import Child, end_with_parent
from deepfake_triton.serving.connections import Connections
from deepfake_triton.serving.failures import is_harmless, reason_from_log
from deepfake_triton.serving.folder import ServerFolder, sweep_leftovers
from deepfake_triton.serving.http_api import HttpApi
from deepfake_triton.serving.installation import find_installation, write_python
from deepfake_triton.serving.options import LOG_LEVELS, START_TIMEOUT_S, ServerOptions
from deepfake_triton.serving.watch import Watch, reason_of_exit, signal_name
from deepfake_triton.shared_memory_key import user_key
from deepfake_triton.terminal import printable

__all__ = [
    "LOG_LEVELS",
    "START_TIMEOUT_S",
    "ServerOptions",
    "TritonServer",
    "end_with_parent",
    "require_repository",
    "sweep_leftovers",
]

_EVERY_MODEL = tuple(spec.name for spec in served_models())
_OWN_LINE = re.compile(r"[EWI]\d{4} ")
"""Of Triton's log; before it, the loader of libraries may speak."""
POLL_S = 0.1
CHECK_S = 1.0
ANSWER_TIMEOUT_S = 5.0
"""Of an HTTP request that a server that ends still works on; inference has been finished before."""


class TritonServer:
    """A running tritonserver; a context manager that drains and ends it.

    It ends with the thread that made it: make it in one that lives as long as the server shall. `listening`
    holds the ports of one that is started again and again; without it, they are this server's own.
    Raises InvalidRepository, PortInUse, MissingDependency, or ServerFailed with Triton's own reason.
    """

    def __init__(self, options: ServerOptions, listening: Listening | None = None) -> None:
        self._models = require_repository(options.repository, options.require_signature)
        self.options = options
        self._was_ready = self._has_said_refused = False
        self._log: deque[str] = deque(maxlen=2000)
        try:
            with contextlib.ExitStack() as undo:
                at = self.listening = listening or undo.enter_context(Listening(options))
                key = options.shared_memory_key or _key_of_this_user()
                access = Access(options, at.http.address.is_loopback, secrets.token_urlsafe(16), key)
                self._http = HttpApi(at.http.address.to_connect, at.http.port, access.secret)
                sweep_leftovers()
                self._folder = ServerFolder()
                undo.callback(self._folder.remove)
                self._folder.link_models(options.repository, self._models)
                installation = find_installation()
                installation.write_backends(self._folder.backends)
                python = write_python(self._folder.path / "python", self._folder.models)
                # The user's key outlives this server, unlike the secret.
                without_users_key = replace(access, shared_memory_key=options.shared_memory_key)
                self._child = Child(
                    [str(installation.executable), *command_line(options, at, self._folder, self._models)],
                    access.secret_arguments(),
                    {
                        name: value
                        for name, value in installation.environment(python).items()
                        if name != SHARED_MEMORY_KEY_VARIABLE
                    },
                    inherited=[self._folder.lock],  # as long as a process of Triton lives, nobody sweeps
                    shown=without_users_key.secret_arguments(),
                )
                undo.callback(self._child.kill_group)
                self.access = access if self._child.hides_secrets else without_users_key
                self._undo = undo.pop_all()
        except (OSError, shutil.Error) as error:
            raise ServerFailed(f"tritonserver cannot be started: {error}") from error
        self.process = self._child.process
        self._connections = Connections(
            self.process.pid,
            at.grpc.port,
            (at.http.port, at.metrics.port),
            answers_quickly=not (self.access.http_inference or self.access.http_model_control),
        )
        self._reader = threading.Thread(target=self._read_log, name="triton-log", daemon=True)
        self._reader.start()

    @property
    def url(self) -> str:
        """The gRPC address, as a client takes it."""
        return str(self.listening.grpc)

    @property
    def grpc_port(self) -> int:
        """Where inference is asked for."""
        return self.listening.grpc.port

    @property
    def http_port(self) -> int:
        """Where health and metadata are."""
        return self.listening.http.port

    @property
    def metrics_port(self) -> int:
        """Where Prometheus reads."""
        return self.listening.metrics.port

    @property
    def shared_memory_prefix(self) -> str:
        """What the names of the server's own regions in /dev/shm begin with."""
        return self._folder.shared_memory_prefix

    def wait_until_ready(self) -> None:
        """Return when Triton says that it and all its models are ready."""
        if not self._child.hides_secrets:
            _say(
                "ptrace is refused here: while the server starts, any user of this host can read its secret; "
                "shared memory is closed to this user's key"
            )
        deadline = time.monotonic() + self.options.start_timeout_s
        while not self._http.is_ready():
            if (status := self.process.poll()) is not None:
                self._reader.join(timeout=5)
                ended = f"by {signal_name(-status)}: " if status < 0 else ""
                raise ServerFailed(f"tritonserver ended while starting: {ended}{self.failure()}")
            if time.monotonic() > deadline:
                raise ServerFailed(
                    f"tritonserver was not ready after {self.options.start_timeout_s:g} s: {self.failure()}"
                )
            if any(map(_OWN_LINE.match, list(self._log))):  # it has read its options
                self._child.overwrite_secrets()
            time.sleep(POLL_S)
        self._was_ready = True
        if self._folder.close_shared_memory():
            _say("no seccomp filter is taken here: for a moment, other users could open the server's memory")
        if not self._child.overwrite_secrets():
            _say("any user of this host can read the server's secret on its command line, and unload models")

    def wait(self) -> str | None:
        """Wait until the process has ended, or has to be ended; why it is to be started again.

        None where it ended by itself and in good order. It is looked after every second.
        """
        kept = self._models if self.options.model_control == "none" else ()
        watch = Watch(self.process.pid, self._http, models=kept)
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self.process.wait(CHECK_S)
                self.kill()
                self._reader.join(timeout=5)
                return reason_of_exit(status, self.failure())
            self._folder.close_shared_memory()
            if self.options.model_control == "explicit":  # a version with further models may be activated
                self._folder.link_models(self.options.repository, _EVERY_MODEL)
            self._connections.end_idle()
            self._say_once_what_is_refused()
            if reason := watch.check():
                self.kill()
                return reason

    def close(self) -> None:
        """Finish what was accepted, end the server, and if that takes too long, kill it. May be repeated."""
        if self._was_ready:
            self._finish_ensembles()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        asked_s = time.monotonic()
        while self.process.poll() is None and (waited_s := time.monotonic() - asked_s) < DRAIN_TIMEOUT_S + 5:
            self._connections.end_http(unanswered=waited_s > self._answer_timeout_s)
            time.sleep(POLL_S)
        self.kill()  # a server that ends while it loads leaves its Python processes
        self._reader.join(timeout=5)
        self._undo.close()

    def kill(self) -> None:
        """End the server and its Python processes at once, whatever they are doing."""
        self._child.kill_group()

    def signal_end(self) -> None:
        """The same for signal handlers: nothing is waited for."""
        self._child.signal_group()

    def failure(self) -> str:
        """Why the server ended, in its own words."""
        return reason_from_log(list(self._log))

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

    def _say_once_what_is_refused(self) -> None:
        if self._connections.is_refused and not self._has_said_refused:
            self._has_said_refused = True
            _say(
                "idle connections cannot be ended here: pidfd_getfd is refused, as by the seccomp profile of "
                "containers (docker run --cap-add SYS_PTRACE)"
            )

    def _finish_ensembles(self) -> None:
        """Unload ensembles while their steps still run.

        On SIGTERM, Triton 2.51 stops all schedulers at once: the next step of an ensemble's request in flight
        is refused. Unloading the ensemble takes no new request, and ends when the last one is answered.
        """
        deadline = time.monotonic() + DRAIN_TIMEOUT_S
        asked: set[str] = set()
        while self.process.poll() is None and time.monotonic() < deadline:
            ensembles = self._http.loaded_ensembles()
            if ensembles == set():
                return
            for name in (ensembles or set()) - asked:
                self._http.unload(name)
                asked.add(name)
            time.sleep(POLL_S / 2)

    def _read_log(self) -> None:
        assert self.process.stdout is not None
        for raw in self.process.stdout:
            line = self.access.without_secrets(raw)
            self._log.append(line.rstrip("\n"))
            if self.options.log_level != "error" or not is_harmless(line):
                with contextlib.suppress(OSError, ValueError):  # stderr was closed: read on, or Triton blocks
                    sys.stderr.write(line)


def require_repository(folder: Path, public_key: Path | None = None) -> tuple[str, ...]:
    """Return the models to load. Raises InvalidRepository unless `folder` is as its export wrote it, and
    signed where `public_key` is given."""
    checked = check_repository(folder, public_key=public_key)
    for warning in (*checked.warnings, *warnings_about(folder, adds_int8_exactly())):
        _say(warning)
    return checked.models


def _key_of_this_user() -> str | None:
    try:
        return user_key()
    except SharedMemoryKeyUnusable as error:
        _say(
            f"shared memory stays closed, and frames pass through gRPC: {error}; or name a key in "
            f"{SHARED_MEMORY_KEY_VARIABLE}"
        )
        return None


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # whoever read it has gone
        print(f"deepfake-triton: {printable(text)}", file=sys.stderr, flush=True)
