"""One tritonserver process: started, watched until it is ready, drained and ended."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import ipaddress
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Literal

from deepfake_triton.contracts import SHARED_MEMORY_KEY
from deepfake_triton.cpu import adds_int8_exactly
from deepfake_triton.errors import InvalidRepository, PortInUse, ServerFailed
from deepfake_triton.integrity import require_unchanged, warnings_about
from deepfake_triton.serving.failures import is_harmless, reason_from_log
from deepfake_triton.serving.http_api import HttpApi
from deepfake_triton.serving.installation import find_installation
from deepfake_triton.shared_regions import is_orphan

ModelControl = Literal["none", "explicit"]
LogLevel = Literal["error", "warning", "info", "verbose"]
LOG_LEVELS: tuple[LogLevel, ...] = ("error", "warning", "info", "verbose")

START_TIMEOUT_S = 300.0
DRAIN_TIMEOUT_S = 30
POLL_S = 0.1
STEP_CHECK_S = 1.0
SHARED_MEMORY_BYTES = 32 * 2**20
"""A Python model's first region; it grows, but growing costs a request milliseconds."""
SHORTEST_PING_MS = 5000
"""How often a client may ask whether the connection lives."""
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
_FOLDER_PREFIX = "deepfake-triton-server-"


@dataclass(frozen=True)
class ServerOptions:
    """What `deepfake-triton serve` takes; a port of 0 stands for a free one.

    With a certificate and its key (PEM) gRPC is encrypted; with `tls_client_ca`, clients have to show a
    certificate of that authority. `shared_memory_key` opens shared memory to callers who send it, also where
    other hosts reach the server.
    """

    repository: Path
    host: str = "127.0.0.1"
    grpc_port: int = 8001
    http_port: int = 8000
    metrics_port: int = 8002
    model_control: ModelControl = "none"
    log_level: LogLevel = "error"
    start_timeout_s: float = START_TIMEOUT_S
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    shared_memory_key: str | None = None


class TritonServer:
    """A running tritonserver; a context manager that drains and ends it.

    It ends with the thread that made it: make it in one that lives as long as the server shall.
    Raises InvalidRepository, PortInUse, MissingDependency, or ServerFailed with Triton's own reason.
    """

    def __init__(self, options: ServerOptions) -> None:
        require_repository(options.repository)
        self.options = options
        self.grpc_port, self.http_port, self.metrics_port = _usable_ports(options)
        secret, key = secrets.token_urlsafe(16), options.shared_memory_key or ""
        self._http = HttpApi(options.host, self.http_port, secret, shared_memory_key=key)
        sweep_leftovers()
        self._folder = tempfile.TemporaryDirectory(prefix=_FOLDER_PREFIX)
        self._lock = _locked(Path(self._folder.name))
        self.shared_memory_prefix = Path(self._folder.name).name
        self._was_ready = False
        self._log: deque[str] = deque(maxlen=2000)
        try:
            installation = find_installation()
            backends = Path(self._folder.name) / "backends"
            backends.mkdir()
            installation.write_backends(backends)
            self.process = subprocess.Popen(
                [str(installation.executable), *self._arguments(backends)],
                env=installation.environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,  # Ctrl-C reaches the server through us, once
                preexec_fn=end_with_parent,  # noqa: PLW1509 - one system call, no locks
            )
        except OSError as error:
            self._remove_folder()
            raise ServerFailed(f"tritonserver cannot be started: {error}") from error
        except BaseException:
            self._remove_folder()
            raise
        self._reader = threading.Thread(target=self._read_log, name="triton-log", daemon=True)
        self._reader.start()

    @property
    def url(self) -> str:
        """The gRPC address, as a client takes it."""
        return f"{self.options.host}:{self.grpc_port}"

    def same_ports(self) -> ServerOptions:
        """Options for another one where this one was."""
        return replace(
            self.options, grpc_port=self.grpc_port, http_port=self.http_port, metrics_port=self.metrics_port
        )

    def wait_until_ready(self) -> None:
        """Return when Triton says that it and all its models are ready."""
        deadline = time.monotonic() + self.options.start_timeout_s
        while not self._http.is_ready():
            if self.process.poll() is not None:
                self._reader.join(timeout=5)
                raise ServerFailed(f"tritonserver ended while starting: {reason_from_log(self._log)}")
            if time.monotonic() > deadline:
                raise ServerFailed(
                    f"tritonserver was not ready after {self.options.start_timeout_s:g} s: "
                    f"{reason_from_log(self._log)}"
                )
            time.sleep(POLL_S)
        self._was_ready = True

    def wait(self) -> bool:
        """Wait for the end of the process. True when it had to be killed, to be started again.

        Triton 2.51 does not notice that the process of a Python model was killed: requests for it hang, and
        so does its own end.
        """
        lost = False
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STEP_CHECK_S)
                return False
            self._sweep_regions()
            lost_before, lost = lost, self._lost_step()
            if lost and lost_before:  # a model that is unloaded loses its process for a moment only
                self.kill()
                return True

    def _sweep_regions(self) -> None:
        """Unregister the shared memory of clients that were killed."""
        for name in filter(is_orphan, self._http.shared_regions()):
            self._http.unregister(name)

    def _lost_step(self) -> bool:
        """Whether a process of a Python model has ended and waits for Triton to notice."""
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                name, state, parent = _process(path)
                if parent == self.process.pid and state == "Z" and name.startswith("triton_python"):
                    return True
        return False

    def close(self) -> None:
        """Finish what was accepted, end the server, and if that takes too long, kill it. May be repeated."""
        if self._was_ready:
            self._finish_ensembles()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(DRAIN_TIMEOUT_S + 5)
        except subprocess.TimeoutExpired:
            self.kill()
        self.kill()  # a server that ends while it loads leaves its Python processes
        self._reader.join(timeout=5)
        _sweep_shared_memory(self.shared_memory_prefix)  # a killed server leaves its own
        self._remove_folder()

    def kill(self) -> None:
        """End the server and its Python processes at once, whatever they are doing."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def failure(self) -> str:
        """Why the server ended, in its own words."""
        return reason_from_log(self._log)

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

    def _arguments(self, backends: Path) -> list[str]:
        options, shown = self.options, LOG_LEVELS.index(self.options.log_level)
        arguments = [
            f"--model-repository={options.repository.resolve()}",
            f"--backend-directory={backends}",
            "--model-control-mode=explicit",
            "--load-model=*",
            f"--grpc-address={options.host}",
            f"--http-address={options.host}",
            f"--metrics-address={options.host}",
            f"--grpc-port={self.grpc_port}",
            f"--http-port={self.http_port}",
            f"--metrics-port={self.metrics_port}",
            f"--exit-timeout-secs={DRAIN_TIMEOUT_S}",
            "--rate-limit=execution_count",  # as configs say: what was begun is finished first
            f"--grpc-http2-min-recv-ping-interval-without-data={SHORTEST_PING_MS}",
            *self._tls_arguments(),
            f"--log-warning={shown >= 1}".lower(),
            f"--log-info={shown >= 2}".lower(),
            f"--log-verbose={int(shown >= 3)}",
        ]
        for backend in ("python", "onnxruntime"):
            arguments.append(f"--backend-config={backend},shm-default-byte-size={SHARED_MEMORY_BYTES}")
            arguments.append(f"--backend-config={backend},shm-region-prefix-name={self.shared_memory_prefix}")
        keys = [f"{','.join(self._closed())}:{HttpApi.SECRET_HEADER}={self._http.secret}"]
        if options.shared_memory_key:
            keys.append(f"shared-memory:{SHARED_MEMORY_KEY}={options.shared_memory_key}")
        return [
            *arguments,
            *(
                f"--{option}={key}"
                for key in keys
                for option in ("grpc-restricted-protocol", "http-restricted-api")
            ),
        ]

    def _closed(self) -> list[str]:
        """What no client may ask, on either port; model control is ours alone, to end in good order, unless
        it was opened, and shared memory is for callers on this host, or with its key."""
        closed = ["trace", "logging"]
        if self.options.model_control == "none":
            closed.append("model-repository")
        if not is_loopback(self.options.host) and not self.options.shared_memory_key:
            closed.append("shared-memory")
        return closed

    def _tls_arguments(self) -> list[str]:
        options = self.options
        if options.tls_certificate is None or options.tls_key is None:
            return []
        named = {"server-cert": options.tls_certificate, "server-key": options.tls_key}
        if options.tls_client_ca:
            named["root-cert"] = options.tls_client_ca
        kind = "ssl-mutual" if options.tls_client_ca else "ssl"
        return [f"--grpc-use-{kind}=true", *(f"--grpc-{name}={path}" for name, path in named.items())]

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

    def _remove_folder(self) -> None:
        self._folder.cleanup()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _read_log(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._log.append(line.rstrip("\n"))
            if self.options.log_level != "error" or not is_harmless(line):
                with contextlib.suppress(OSError, ValueError):  # stderr was closed: read on, or Triton blocks
                    sys.stderr.write(line)


def require_repository(folder: Path) -> None:
    """Raise InvalidRepository unless `folder` holds models, as their export wrote them."""
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "no such folder"
        raise InvalidRepository(f"{folder}: {what}; expected a model repository from deepfake-triton export")
    if not any(folder.glob("*/config.pbtxt")):
        raise InvalidRepository(
            f"{folder}: no model repository: no <model>/config.pbtxt inside; "
            f"write one with: deepfake-triton export --output {folder}"
        )
    require_unchanged(folder)
    for warning in warnings_about(folder, adds_int8_exactly()):
        print(f"deepfake-triton: {warning}", file=sys.stderr, flush=True)


def is_loopback(host: str) -> bool:
    """Whether only this host's own processes reach that address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _usable_ports(options: ServerOptions) -> tuple[int, int, int]:
    wanted = (options.grpc_port, options.http_port, options.metrics_port)
    named = [port for port in wanted if port]
    if len(set(named)) < len(named):
        raise PortInUse(f"ports {wanted}: gRPC, HTTP and metrics need three different ones")
    held: list[socket.socket] = []
    try:
        for port in wanted:
            held.append(_bound(options.host, port))
        return tuple(probe.getsockname()[1] for probe in held)
    finally:
        for probe in held:
            probe.close()


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    probe = socket.socket(family, socket.SOCK_STREAM)
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind((host, port))
        probe.listen()
    except OSError as error:
        probe.close()
        raise PortInUse(
            f"{host}:{port} cannot be used ({error.strerror}); name another port, or 0 for a free one"
        ) from error
    return probe


def sweep_leftovers(min_age_s: float = 60) -> None:
    """Remove the folders, which nobody locks, and the shared memory of servers whose command was killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER_PREFIX}*"):
        with contextlib.suppress(OSError):  # it is locked, or another sweep was faster
            if time.time() - folder.stat().st_mtime >= min_age_s:
                descriptor = _locked(folder)
                _sweep_shared_memory(folder.name)
                shutil.rmtree(folder)
                os.close(descriptor)


def _locked(folder: Path) -> int:
    """A descriptor that holds the folder's lock; OSError where another process has it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _sweep_shared_memory(prefix: str) -> None:
    for region in Path("/dev/shm").glob(f"{prefix}*"):
        region.unlink(missing_ok=True)


def _process(stat: Path) -> tuple[str, str, int]:
    """Name, state and parent, by the `stat` of a folder in /proc (proc_pid_stat(5))."""
    head, _, tail = stat.read_text().rpartition(")")
    state, parent = tail.split()[:2]
    return head.partition("(")[2], state, int(parent)


def end_with_parent() -> None:
    """For `preexec_fn`: the process is asked to end (SIGTERM) when the one that started it does."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
