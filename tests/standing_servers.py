"""Servers that outlive a test: one that dies fails that test alone, and stands again for the next."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deepfake_triton.serving.server import ServerOptions, TritonServer

_standing: list[TritonServer] = []


@contextmanager
def standing_server(repository: Path) -> Iterator[TritonServer]:
    """A server on free ports."""
    with TritonServer(ServerOptions.on_free_ports(repository)) as server:
        _standing.append(server)
        try:
            yield server
        finally:
            _standing.remove(server)


def start_dead_servers_again() -> None:
    """Start those again, on their ports, whose tritonserver has ended; with a warning."""
    for server in _standing:
        if (status := server.process.poll()) is not None:
            warnings.warn(f"a tritonserver ended with {status}: starting it again", stacklevel=2)
            server.start_again()
            server.wait_until_ready()
