"""The connections that callers hold open to a tritonserver, which has no time-out for them itself.

A duplicate of each socket is taken from the process (pidfd_getfd(2)) to ask the kernel when data last passed,
and to end those on which none does: idle ones use up descriptors, and one over HTTP delays the end by 30 s.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

IDLE_S = 120.0
"""An HTTP or metrics connection that has its answer is ended after so long."""
UNANSWERED_S = 900.0
"""One that waits for its answer, such as for a model that loads; or that never ends its question."""
SILENT_S = 20.0
"""A gRPC connection on which the caller has not said anything at all."""
MOST_HTTP = 256
"""HTTP and metrics connections; beyond, the longest idle ones go."""
MOST_QUESTION_BYTES = 64 * 2**20
"""Triton takes a request whole before it refuses it; nothing that is open without inference is so long."""
CHECK_EVERY_S = 1.0
_SYS_PIDFD_GETFD = 438
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_ESTABLISHED, _CLOSE_WAIT = "01", "08"
# Of struct tcp_info: milliseconds since data was sent, and received; bytes received; segments sent.
_INFO_SIZE, _LAST_SENT, _LAST_RECEIVED, _BYTES_RECEIVED, _SEGMENTS_SENT = 160, 44, 52, 128, 156


@dataclass(frozen=True)
class Connection:
    """One connection: how long nothing has passed, and what passed before."""

    socket: socket.socket
    sent_ago_s: float
    received_ago_s: float
    received_bytes: int
    sent_segments: int

    @property
    def idle_s(self) -> float:
        """Since when nothing has passed."""
        return min(self.sent_ago_s, self.received_ago_s)

    @property
    def is_unanswered(self) -> bool:
        """Whether the caller spoke last."""
        return self.received_bytes > 0 and (not self.sent_segments or self.received_ago_s < self.sent_ago_s)

    def end(self) -> None:
        """Have both sides see its end."""
        with contextlib.suppress(OSError):  # it has ended by itself
            self.socket.shutdown(socket.SHUT_RDWR)


class Connections:
    """Those of one server process. Where the kernel lends no sockets (before Linux 5.6), none are seen."""

    def __init__(
        self, pid: int, grpc_port: int, http_ports: tuple[int, int], *, bounds_questions: bool = True
    ) -> None:
        self._pid = pid
        self._most_bytes = MOST_QUESTION_BYTES if bounds_questions else math.inf
        self._grpc_port = grpc_port
        self._http_ports = http_ports
        self._next_s = time.monotonic()

    def end_idle(self) -> None:
        """End those on which nothing passes. May be called often."""
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + CHECK_EVERY_S
        with self._open(self._http_ports) as found:
            found.sort(key=lambda connection: connection.idle_s)
            for number, connection in enumerate(found):
                limit_s = UNANSWERED_S if connection.is_unanswered else IDLE_S
                is_too_long = connection.is_unanswered and connection.received_bytes > self._most_bytes
                if number >= MOST_HTTP or connection.idle_s >= limit_s or is_too_long:
                    connection.end()
        with self._open((self._grpc_port,)) as found:
            for connection in found:
                if not connection.received_bytes and connection.idle_s >= SILENT_S:
                    connection.end()

    def end_http(self, *, unanswered: bool) -> None:
        """End HTTP and metrics connections, of a server that ends; those that wait for an answer as well?"""
        with self._open(self._http_ports) as found:
            for connection in found:
                if unanswered or not connection.is_unanswered:
                    connection.end()

    @contextlib.contextmanager
    def _open(self, ports: tuple[int, ...]) -> Iterator[list[Connection]]:
        with contextlib.ExitStack() as stack:
            found = []
            with contextlib.suppress(OSError):  # the process has ended, or the kernel lends none
                process = os.pidfd_open(self._pid)
                stack.callback(os.close, process)
                for descriptor in self._descriptors(ports):
                    if connection := _connection(process, descriptor):
                        stack.enter_context(connection.socket)
                        found.append(connection)
            yield found

    def _descriptors(self, ports: tuple[int, ...]) -> list[int]:
        """Numbers in the process of its sockets on those ports."""
        inodes = _inodes(ports)
        found = []
        for entry in Path(f"/proc/{self._pid}/fd").iterdir() if inodes else ():
            try:
                target = str(entry.readlink())
            except OSError:
                continue  # closed meanwhile
            if target.startswith("socket:[") and target[8:-1] in inodes:
                found.append(int(entry.name))
        return found


def _inodes(ports: tuple[int, ...]) -> set[str]:
    """Of the sockets that accepted a connection on those ports (proc_pid_net(5))."""
    found = set()
    for table in _TABLES:
        if table.exists():
            for line in table.read_text().splitlines()[1:]:
                _, local, _, state, _, _, _, _, _, inode, *_ = line.split()
                if state in (_ESTABLISHED, _CLOSE_WAIT) and int(local.rpartition(":")[2], 16) in ports:
                    found.add(inode)
    return found


def _connection(process: int, descriptor: int) -> Connection | None:
    duplicate = _LIBC.syscall(_SYS_PIDFD_GETFD, process, descriptor, 0)
    if duplicate < 0:
        return None
    taken = socket.socket(fileno=duplicate)
    try:
        info = taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_SIZE)
        (sent_ms,) = struct.unpack_from("=I", info, _LAST_SENT)
        (received_ms,) = struct.unpack_from("=I", info, _LAST_RECEIVED)
        (received_bytes,) = struct.unpack_from("=Q", info, _BYTES_RECEIVED)
        (sent_segments,) = struct.unpack_from("=I", info, _SEGMENTS_SENT)
    except (OSError, struct.error):  # it is another socket by now
        taken.close()
        return None
    return Connection(taken, sent_ms / 1000, received_ms / 1000, received_bytes, sent_segments)
