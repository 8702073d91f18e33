"""What a gateway needs of its process: a port, signals, open files."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from deepfake_triton.errors import InvalidOption, PortInUse

_MAX_FILES = 65_536
_BACKLOG = 1024
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """The wish that a gateway ends.

    Attributes:
        wanted: Stop taking requests; running jobs go on for a while.
        hurried: Do not wait for them either; set by a second signal.
    """

    def __init__(self, wanted: asyncio.Event | None = None) -> None:
        self.wanted, self.hurried = wanted or asyncio.Event(), asyncio.Event()

    def signaled(self) -> None:
        """Note a further signal."""
        (self.hurried if self.wanted.is_set() else self.wanted).set()


@contextmanager
def stop_signals(stop: Stop) -> Iterator[None]:
    """Tell `stop` of SIGTERM and SIGINT, and restore their handlers; only the main thread gets signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    former = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop.signaled)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, former[number])


@contextmanager
def listener(host: str, port: int) -> Iterator[socket.socket]:
    """Listen on a port, IPv4 before IPv6 where a name has both. Raises PortInUse or InvalidOption."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise InvalidOption(f"--host {host}: no address of this machine ({error.strerror})") from error
    with listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(address)
            listening.listen(_BACKLOG)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(
                    f"--port {port}: another process listens on {host}:{port}; name another port"
                ) from error
            raise InvalidOption(
                f"--host {host}, --port {port}: cannot listen there ({os.strerror(error.errno or 0)})"
            ) from error
        yield listening


def raise_file_limit() -> None:
    """Allow as many open files as this user may have: each connection and each upload is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
