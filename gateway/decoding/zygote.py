"""Zygote: a process that has loaded what decoding needs, and forks a child for every file.

Nothing is shared between two files: a child gets one descriptor of its upload, and ends with its answer. The
zygote holds no secret, has no thread, and ends with its children when the gateway closes the connection.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import selectors
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from deepfake_triton.gateway.decoding.messages import (
    close_all,
    message_from_bug,
    object_from,
    receive_message,
    send_message,
)
from deepfake_triton.gateway.decoding.sandbox import CHANNEL, ChildLimits, enter_sandbox
from deepfake_triton.gateway.decoding.worker import Worker
from deepfake_triton.host.compute_only import takes_filter
from deepfake_triton.json_object import JsonObject

_FIRST_FREE = 64
_ENDED_EARLY = 70


def main() -> None:
    """Serve requests of the gateway, which are received through the descriptor of the first argument; the
    second is the PEM of trusted authorities, if there are any."""
    control = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    worker = Worker(Path(sys.argv[2]) if len(sys.argv) > 2 else None)
    with open(os.devnull, "r+b", buffering=0) as nothing:  # noqa: PTH123 - FFmpeg writes names there
        for descriptor in (0, 1, 2):
            os.dup2(nothing.fileno(), descriptor)
    gc.collect()
    gc.freeze()
    is_filtered = takes_filter()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        send_message(control, {"is_filtered": is_filtered})
        Zygote(control, worker, is_filtered=is_filtered).serve()


class Zygote:
    """The loop: forks children, tells of their ends, and kills them all when the gateway has gone."""

    def __init__(self, control: socket.socket, worker: Worker, *, is_filtered: bool) -> None:
        """`is_filtered`: children work behind a filter of system calls, or not at all."""
        self._control, self._worker, self._is_filtered = control, worker, is_filtered
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        self._children: dict[int, tuple[int, socket.socket]] = {}

    def serve(self) -> None:
        """Serve until the gateway closes the connection."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._control:
                    if not self._take_request():
                        self._kill_all()
                        return
                elif isinstance(key.fileobj, socket.socket):
                    self._abandon(key.fileobj)
                else:
                    self._reap(key.fd)

    def _take_request(self) -> bool:
        data, descriptors = receive_message(self._control)
        if not data:
            return False
        request = object_from(data)
        channel, status, *files = descriptors
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError:  # no more processes: the gateway sees the connections closed
            close_all(descriptors)
            return True
        if pid == 0:
            self._become_child(request, parent, (channel, *files))
        close_all((channel, *files))
        pidfd = os.pidfd_open(pid)
        connection = socket.socket(fileno=status)
        self._children[pidfd] = (pid, connection)
        self._selector.register(pidfd, selectors.EVENT_READ)
        self._selector.register(connection, selectors.EVENT_READ)
        with contextlib.suppress(OSError):  # the gateway has lost interest
            send_message(connection, {"pid": pid}, [pidfd])
        return True

    def _become_child(self, request: JsonObject, parent: int, descriptors: Sequence[int]) -> None:
        """Do the work of a child, and end."""
        try:
            _keep_only(*descriptors)
            self._work(request, parent, socket.socket(fileno=CHANNEL))
        finally:
            os._exit(_ENDED_EARLY)

    def _work(self, request: JsonObject, parent: int, channel: socket.socket) -> None:
        """Do the work of a child; an unexpected exception is told before it ends the process."""
        try:
            limits = ChildLimits(**request["limits"])
            gauge = enter_sandbox(limits, parent, needs_filter=self._is_filtered)
            self._worker.run(request["job"], channel, gauge)
        finally:
            kind, _, trail = sys.exc_info()
            if kind is not None:
                with contextlib.suppress(OSError):
                    send_message(channel, message_from_bug(kind, trail))

    def _abandon(self, connection: socket.socket) -> None:
        """Kill the child whose connection the gateway has closed, perhaps before it knew the child."""
        for pid, status in self._children.values():
            if status is connection:
                os.kill(pid, signal.SIGKILL)
                self._selector.unregister(connection)

    def _reap(self, pidfd: int) -> None:
        """Take the end of a child, and tell it."""
        pid, status = self._children.pop(pidfd)
        _, wait_status = os.waitpid(pid, 0)
        self._selector.unregister(pidfd)
        os.close(pidfd)
        with contextlib.suppress(KeyError):  # abandoned before
            self._selector.unregister(status)
        with status, contextlib.suppress(OSError):
            send_message(status, {"exit": os.waitstatus_to_exitcode(wait_status)})

    def _kill_all(self) -> None:
        """End all children; connections that just close tell that it was not the file's fault."""
        for pid, status in self._children.values():
            status.close()
            os.kill(pid, signal.SIGKILL)
        for pid, _ in self._children.values():
            os.waitpid(pid, 0)


def _keep_only(*descriptors: int) -> None:
    """Give these the numbers from CHANNEL on, and close every other one."""
    copies = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, _FIRST_FREE) for descriptor in descriptors]
    for number, copy in enumerate(copies, CHANNEL):
        os.dup2(copy, number)
    os.closerange(CHANNEL + len(copies), os.sysconf("SC_OPEN_MAX"))
