"""How frames reach a server: through memory that both share, in the gRPC message, or as JPEG files."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from enum import Enum

from deepfake_triton.addresses import host_and_port, is_loopback
from deepfake_triton.client.shared_memory import FOLDER, Region, RegionPool
from deepfake_triton.errors import (
    DeadlineExceeded,
    ServerError,
    ServerOverloaded,
    ServerUnreachable,
    TransportUnavailable,
)

NO_ANSWER = (ServerUnreachable, DeadlineExceeded, ServerOverloaded)
"""What is no refusal of shared memory."""
REFUSAL_S = 60.0
"""A server that did not take shared memory is not asked again for so long."""


class Transport(Enum):
    """`AUTO` is shared memory where client and server share a host and its IPC namespace, else gRPC."""

    AUTO = "auto"
    GRPC = "grpc"
    SHARED_MEMORY = "shared-memory"
    JPEG = "jpeg"


class TransportChoice:
    """For each server of a client. Usable from many threads."""

    def __init__(self, transport: Transport, urls: Sequence[str]) -> None:
        self.transport = transport
        self.pools = {url: RegionPool() for url in urls}
        self._local = {url for url in urls if _is_local(url)}
        self._refused_until: dict[str, float] = {}
        self._first: set[str] = set()
        self._lock = threading.Lock()

    def shares_memory(self, url: str) -> bool:
        """Whether to lend the server a region."""
        if self.transport is Transport.AUTO:
            return url in self._local and time.monotonic() >= self._refused_until.get(url, 0.0)
        return self.transport is Transport.SHARED_MEMORY

    def name_for(self, region: Region | None) -> Transport:
        """How the frames of one request go, which have that region or none."""
        if self.transport is Transport.JPEG:
            return Transport.JPEG
        return Transport.GRPC if region is None else Transport.SHARED_MEMORY

    def is_first(self, url: str) -> bool:
        """True once for each server: then what clients that have gone left there can be swept."""
        with self._lock:
            first = url not in self._first
            self._first.add(url)
            return first

    def refused(self, url: str, error: ServerError | OSError) -> None:
        """Shared memory does not work there. Raises TransportUnavailable where nothing else was allowed."""
        self._refused_until[url] = time.monotonic() + REFUSAL_S
        if self.transport is Transport.SHARED_MEMORY:
            raise TransportUnavailable(
                f"{url}: shared memory cannot be used ({error}); it takes a server on this host that sees "
                "this /dev/shm and lets callers register memory: ask it over gRPC instead"
            ) from error


def _is_local(url: str) -> bool:
    if sys.platform != "linux" or not FOLDER.is_dir():
        return False
    return is_loopback(host_and_port(url)[0])
