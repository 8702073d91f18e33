"""Idle time-outs for the connections to a tritonserver, which has none itself.

Each socket is duplicated from the process (pidfd_getfd(2)) to ask the kernel when data last passed, and to
shut down idle ones: they use up descriptors, and one over HTTP delays the end of the server by 30 s.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

IDLE_S = 120.0
"""Time-out of an HTTP or metrics connection that has its answer."""
UNANSWERED_S = 900.0
"""Time-out of one that waits for its answer (such as to the load of a model) or is still sending."""
SILENT_S = 20.0
"""Time-out of a gRPC connection on which the caller has sent nothing at all."""
MAX_HTTP_CONNECTIONS = 256
"""Beyond this number of HTTP and metrics connections, those are ended that `ranked` puts last."""
NEW_HTTP_CONNECTIONS = 32
"""Of those that have sent nothing yet, so many of the newest rank before all that have."""
MAX_REQUEST_BYTES = 64 * 2**20
"""Triton receives a request whole before it refuses it; no request other than inference is as long."""
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
    """One connection: the time since data passed, and how much passed before."""

    socket: socket.socket
    inode: int
    sent_ago_s: float
    received_ago_s: float
    received_bytes: int
    sent_segments: int

    @property
    def idle_s(self) -> float:
        """Time since data passed either way."""
        return min(self.sent_ago_s, self.received_ago_s)

    @property
    def is_unanswered(self) -> bool:
        """Whether the caller sent last."""
        return self.received_bytes > 0 and (not self.sent_segments or self.received_ago_s < self.sent_ago_s)

    def end(self) -> None:
        """Shut the connection down for both sides."""
        with contextlib.suppress(OSError):  # it has ended by itself
            self.socket.shutdown(socket.SHUT_RDWR)


class Connections:
    """The connections of one server process.

    Where the kernel duplicates no sockets (before Linux 5.6, or by the seccomp profile of a container), none
    are seen, and `is_refused` becomes true.
    """

    def __init__(
        self, pid: int, grpc_port: int, http_ports: tuple[int, int], *, answers_quickly: bool = True
    ) -> None:
        """`answers_quickly`: no request that is allowed over HTTP takes long to send or to answer."""
        self.is_refused = False
        self._pid = pid
        self._answers_quickly = answers_quickly
        self._answered_bytes: dict[int, int] = {}
        self._grpc_port = grpc_port
        self._http_ports = http_ports
        self._next_s = time.monotonic()

    def end_idle(self) -> None:
        """End idle connections; looks at them once in CHECK_EVERY_S, however often it is called."""
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + CHECK_EVERY_S
        with self._open(self._http_ports) as found:
            request_bytes = self._request_bytes(found)
            for number, connection in enumerate(ranked(found)):
                waits = connection.is_unanswered
                is_too_long = self._answers_quickly and request_bytes[connection.inode] > MAX_REQUEST_BYTES
                is_too_many = number >= MAX_HTTP_CONNECTIONS and (self._answers_quickly or not waits)
                if is_too_many or is_too_long or connection.idle_s >= (UNANSWERED_S if waits else IDLE_S):
                    connection.end()
        with self._open((self._grpc_port,)) as found:
            for connection in found:
                if not connection.received_bytes and connection.idle_s >= SILENT_S:
                    connection.end()

    def end_http(self, *, unanswered: bool) -> None:
        """End the HTTP and metrics connections of a server that ends; `unanswered`: also those that wait."""
        with self._open(self._http_ports) as found:
            for connection in found:
                if unanswered or not connection.is_unanswered:
                    connection.end()

    def _request_bytes(self, found: list[Connection]) -> dict[int, int]:
        """Return the bytes that each connection received since it last had all its answers, by inode."""
        before = self._answered_bytes
        self._answered_bytes = {
            connection.inode: before.get(connection.inode, 0)
            if connection.is_unanswered
            else connection.received_bytes
            for connection in found
        }
        return {
            connection.inode: connection.received_bytes - self._answered_bytes[connection.inode]
            for connection in found
        }

    @contextlib.contextmanager
    def _open(self, ports: tuple[int, ...]) -> Iterator[list[Connection]]:
        with contextlib.ExitStack() as stack:
            found = []
            with contextlib.suppress(OSError):  # the process has ended, or the kernel refuses
                process = _call(_SYS_PIDFD_OPEN, self._pid, 0)
                stack.callback(os.close, process)
                for descriptor, inode in self._descriptors(ports):
                    if connection := self._duplicate(process, descriptor, inode, ports=ports):
                        stack.enter_context(connection.socket)
                        found.append(connection)
            yield found

    def _duplicate(
        self, process: int, descriptor: int, inode: int, *, ports: tuple[int, ...]
    ) -> Connection | None:
        try:
            duplicate = socket.socket(fileno=_call(_SYS_PIDFD_GETFD, process, descriptor, 0))
        except OSError as error:
            self.is_refused |= error.errno in (errno.EPERM, errno.ENOSYS)
            return None
        with contextlib.suppress(OSError, struct.error):  # it is another socket by now
            if duplicate.getsockname()[1] in ports:
                return _measure(duplicate, inode)
        duplicate.close()
        return None

    def _descriptors(self, ports: tuple[int, ...]) -> list[tuple[int, int]]:
        """Return the process's descriptors of sockets on those ports, and their inodes."""
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


def ranked(found: Iterable[Connection]) -> list[Connection]:
    """Sort connections by who stays when there are too many: first whoever is the least idle.

    Apart from the newest, connections that have sent nothing rank behind all that have. Ranked by idle time
    alone, a stranger who only connects, often enough, would end the connections in use.
    """
    by_idle = sorted(found, key=lambda connection: connection.idle_s)
    silent = [connection for connection in by_idle if not connection.received_bytes]
    in_use = [connection for connection in by_idle if connection.received_bytes]
    return [*silent[:NEW_HTTP_CONNECTIONS], *in_use, *silent[NEW_HTTP_CONNECTIONS:]]


def _inodes(ports: tuple[int, ...]) -> set[str]:
    """Return the inodes of the sockets accepted on those ports (proc_pid_net(5))."""
    found = set()
    for table in _TABLES:
        if table.exists():
            for line in table.read_text().splitlines()[1:]:
                _, local, _, state, _, _, _, _, _, inode, *_ = line.split()
                if state in (_ESTABLISHED, _CLOSE_WAIT) and int(local.rpartition(":")[2], 16) in ports:
                    found.add(inode)
    return found


def _call(number: int, *arguments: int) -> int:
    """Make a system call that not every Python wraps. Raises OSError."""
    result = int(_LIBC.syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _measure(duplicate: socket.socket, inode: int) -> Connection:
    info = duplicate.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_SIZE)
    (sent_ms,) = struct.unpack_from("=I", info, _LAST_SENT)
    (received_ms,) = struct.unpack_from("=I", info, _LAST_RECEIVED)
    (received_bytes,) = struct.unpack_from("=Q", info, _BYTES_RECEIVED)
    (sent_segments,) = struct.unpack_from("=I", info, _SEGMENTS_SENT)
    return Connection(
        socket=duplicate,
        inode=inode,
        sent_ago_s=sent_ms / 1000,
        received_ago_s=received_ms / 1000,
        received_bytes=received_bytes,
        sent_segments=sent_segments,
    )
