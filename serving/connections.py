"""The connections that callers hold open to a tritonserver, which has no time-out for them itself.

A duplicate of each socket is taken from the process (pidfd_getfd(2)) to ask the kernel when data last passed,
and to end those on which none does: idle ones use up descriptors, and one over HTTP delays the end by 30 s.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
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
_SYS_PIDFD_OPEN, _SYS_PIDFD_GETFD = 434, 438
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
    inode: int
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
    """Those of one server process. Where the kernel lends no sockets (before Linux 5.6, or by the seccomp
    profile of a container), none are seen, and `is_refused` becomes true."""

    def __init__(
        self, pid: int, grpc_port: int, http_ports: tuple[int, int], *, answers_quickly: bool = True
    ) -> None:
        """`answers_quickly`: nothing that is open over HTTP takes long to ask or to answer."""
        self.is_refused = False
        self._pid = pid
        self._answers_quickly = answers_quickly
        self._answered_bytes: dict[int, int] = {}
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
            question_bytes = self._question_bytes(found)
            for number, connection in enumerate(found):
                waits = connection.is_unanswered
                is_too_long = self._answers_quickly and question_bytes[connection.inode] > MOST_QUESTION_BYTES
                is_too_many = number >= MOST_HTTP and (self._answers_quickly or not waits)
                if is_too_many or is_too_long or connection.idle_s >= (UNANSWERED_S if waits else IDLE_S):
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

    def _question_bytes(self, found: list[Connection]) -> dict[int, int]:
        """What each connection has received since it was last seen with all its answers, by inode."""
        before = self._answered_bytes
        self._answered_bytes = {
            each.inode: before.get(each.inode, 0) if each.is_unanswered else each.received_bytes
            for each in found
        }
        return {each.inode: each.received_bytes - self._answered_bytes[each.inode] for each in found}

    @contextlib.contextmanager
    def _open(self, ports: tuple[int, ...]) -> Iterator[list[Connection]]:
        with contextlib.ExitStack() as stack:
            found = []
            with contextlib.suppress(OSError):  # the process has ended, or the kernel lends none
                process = _call(_SYS_PIDFD_OPEN, self._pid, 0)
                stack.callback(os.close, process)
                for descriptor, inode in self._descriptors(ports):
                    if connection := self._connection(process, descriptor, inode, ports):
                        stack.enter_context(connection.socket)
                        found.append(connection)
            yield found

    def _connection(
        self, process: int, descriptor: int, inode: int, ports: tuple[int, ...]
    ) -> Connection | None:
        try:
            taken = socket.socket(fileno=_call(_SYS_PIDFD_GETFD, process, descriptor, 0))
        except OSError as error:
            self.is_refused |= error.errno in (errno.EPERM, errno.ENOSYS)
            return None
        with contextlib.suppress(OSError, struct.error):  # it is another socket by now
            if taken.getsockname()[1] in ports:
                return _measured(taken, inode)
        taken.close()
        return None

    def _descriptors(self, ports: tuple[int, ...]) -> list[tuple[int, int]]:
        """Numbers in the process of its sockets on those ports, and their inodes."""
        inodes = _inodes(ports)
        found = []
        for entry in Path(f"/proc/{self._pid}/fd").iterdir() if inodes else ():
            try:
                target = str(entry.readlink())
            except OSError:
                continue  # closed meanwhile
            if target.startswith("socket:[") and target[8:-1] in inodes:
                found.append((int(entry.name), int(target[8:-1])))
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


def _call(number: int, *arguments: int) -> int:
    """A system call that not every Python has. Raises OSError."""
    result = int(_LIBC.syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _measured(taken: socket.socket, inode: int) -> Connection:
    info = taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_SIZE)
    (sent_ms,) = struct.unpack_from("=I", info, _LAST_SENT)
    (received_ms,) = struct.unpack_from("=I", info, _LAST_RECEIVED)
    (received_bytes,) = struct.unpack_from("=Q", info, _BYTES_RECEIVED)
    (sent_segments,) = struct.unpack_from("=I", info, _SEGMENTS_SENT)
    return Connection(taken, inode, sent_ms / 1000, received_ms / 1000, received_bytes, sent_segments)
