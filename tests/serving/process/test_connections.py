"""Which connections are seen, how they are measured, and which are ended when there are too many."""

from __future__ import annotations

import os
import socket
import time
from contextlib import ExitStack

import pytest
from network import idle_sockets, is_ended

from deepfake_triton.serving.process import connections

pytestmark = pytest.mark.fast


def test_bytes_are_counted_as_the_kernel_counts_them() -> None:
    """The offsets into tcp_info, against a connection whose traffic is known."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        caller = socket.create_connection(listening.getsockname())
        accepted, _ = listening.accept()
        with caller, accepted:
            caller.sendall(b"x" * 1234)
            assert accepted.recv(4096)
            time.sleep(2)
            port = listening.getsockname()[1]
            found = connections.Connections(os.getpid(), 1, (port, 2))
            with found._open((port,)) as (seen,):
                assert seen.received_bytes == 1234 and seen.is_unanswered
                assert 1.9 < seen.idle_s < 20
            accepted.sendall(b"y")
            with found._open((port,)) as (seen,):
                assert not seen.is_unanswered and seen.idle_s < 1.9
            found.end_http(unanswered=True)
            assert caller.recv(2) == b"y" and caller.recv(1) == b""


def test_who_only_connects_ends_no_connection_in_use_and_who_just_came_has_a_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "MAX_HTTP_CONNECTIONS", 5)
    monkeypatch.setattr(connections, "NEW_HTTP_CONNECTIONS", 1)
    with socket.create_server(("127.0.0.1", 0)) as listening, ExitStack() as stack:

        def connected(number: int, sends: bytes = b"") -> list[socket.socket]:
            callers = stack.enter_context(idle_sockets(listening.getsockname()[1], number))
            for caller in callers:
                accepted = stack.enter_context(listening.accept()[0])
                caller.sendall(sends)
                assert not sends or accepted.recv(1)
            time.sleep(0.1)
            return callers

        in_use = connected(3, b"x")
        silent = connected(4)
        found = connections.Connections(os.getpid(), 1, (listening.getsockname()[1], 2))
        found.end_idle()
        assert not any(map(is_ended, in_use)) and sum(map(is_ended, silent)) == 2
        in_use += connected(3, b"x")
        (newest,) = connected(1)
        monkeypatch.setattr(found, "_next_s", 0)
        found.end_idle()
        assert not is_ended(newest) and all(map(is_ended, silent))
        assert sum(map(is_ended, in_use[:3])) == 2, "the longest idle"
        assert not any(map(is_ended, in_use[3:]))
