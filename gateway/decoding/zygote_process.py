"""The zygote as the gateway sees it: asked for a child for every file, and started anew if it dies."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from deepfake_triton.errors import GatewayBusy
from deepfake_triton.gateway.decoding.decoder_process import DecoderProcess, out_of_decoders
from deepfake_triton.gateway.decoding.messages import (
    MalformedMessage,
    object_from,
    receive_message,
    send_message,
)
from deepfake_triton.gateway.decoding.sandbox import ChildLimits
from deepfake_triton.json_object import JsonObject

_START_TIMEOUT_S, _END_TIMEOUT_S = 60.0, 10.0
_CODE = (
    "import sys; sys.path[:] = sys.argv.pop().split('\\n'); "
    "from deepfake_triton.gateway.decoding.zygote import main; main()"
)
_VARIABLES = ("LD_LIBRARY_PATH", "OPENBLAS_", "NPY_", "GLIBC_TUNABLES")
"""Prefixes of the variables that it inherits: they change the last bit of pixels; others may be secret."""
_SETTINGS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
"""A process with threads is not to be forked, and every arena of malloc counts as 64 MB of address space."""
_UNFILTERED = (
    "this machine takes no filter of system calls (seccomp, on x86-64): a file that takes over its decoder "
    "can do what this user can; run the gateway in a container, as a user of its own"
)
_LOG = logging.getLogger(__name__)


class ZygoteProcess:
    """Starts children. Usable from many threads."""

    def __init__(self, c2pa_trust: Path | None = None) -> None:
        self._trust = c2pa_trust
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._is_closed = self._is_warned = False
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start it and wait until it has loaded everything. Raises InvalidOption for a file of authorities
        that cannot be read, and GatewayBusy."""
        try:
            with self._lock:
                self._require_running()
        except OSError as error:
            raise out_of_decoders(error.strerror) from error

    def spawn(self, job: JsonObject, limits: ChildLimits, files: Sequence[int]) -> DecoderProcess:
        """Start a child with a job, and descriptors of the upload and of what it may write. Raises
        GatewayBusy."""
        try:
            return self._spawn(job, limits, files)
        except OSError as error:
            raise out_of_decoders(error.strerror) from error

    def _spawn(self, job: JsonObject, limits: ChildLimits, files: Sequence[int]) -> DecoderProcess:
        ours, channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        our_status, status = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        request = {"job": {**job, "memory_bytes": limits.memory_bytes}, "limits": vars(limits)}
        with channel, status, contextlib.ExitStack() as stack:
            stack.enter_context(ours)
            stack.enter_context(our_status)
            zygote = self._request(request, (channel.fileno(), status.fileno(), *files))
            stack.pop_all()
        on_silence = partial(self._replace, zygote)
        return DecoderProcess(
            str(job["name"]), limits, channel=ours, status=our_status, on_silence=on_silence
        )

    def _request(self, request: JsonObject, descriptors: Sequence[int]) -> subprocess.Popen[bytes] | None:
        """Send a request, and return the zygote that has it."""
        with self._lock:
            try:
                send_message(self._require_running(), request, descriptors)
            except OSError:  # it has died since the last request
                self._end()
                send_message(self._require_running(), request, descriptors)
            return self._process

    def close(self) -> None:
        """End it and all its children, and wait for that. May be repeated."""
        with self._lock:
            self._is_closed = True
            self._end()

    def _require_running(self) -> socket.socket:
        if self._is_closed:
            raise GatewayBusy("gateway: it is closing; try again in a moment")
        if self._process is not None and self._process.poll() is not None:
            self._end()
        if self._control is None:
            self._control = self._start()
        return self._control

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            arguments = [str(theirs.fileno()), *([str(self._trust.absolute())] if self._trust else [])]
            folders = [str(Path(folder).absolute()) for folder in sys.path if folder]
            environment = {name: value for name, value in os.environ.items() if name.startswith(_VARIABLES)}
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", _CODE, *arguments, "\n".join(folders)],
                stdin=subprocess.DEVNULL,
                env={**environment, **_SETTINGS},
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                cwd="/",
            )
        ours.settimeout(_START_TIMEOUT_S)
        try:
            data, _ = receive_message(ours)
        except (OSError, MalformedMessage):
            data = b""
        if not data:
            ours.close()
            self._end()
            raise out_of_decoders("the process that they are made from does not start; stderr says why")
        if not object_from(data)["is_filtered"] and not self._is_warned:
            self._is_warned = True
            _LOG.warning(_UNFILTERED)
        return ours

    def _replace(self, silent: subprocess.Popen[bytes] | None) -> None:
        """Kill one that does not answer, and all its children: the next request starts another."""
        with self._lock:
            if self._process is not None and self._process is silent:
                silent.kill()
                self._end()

    def _end(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_TIMEOUT_S)
            self._process.kill()
            self._process.wait()
            self._process = None
