"""Transport of frames to a server: shared memory, the gRPC message, or JPEG files."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from enum import Enum

from deepfake_triton.client.wire.shared_memory import FOLDER, Region, RegionPool
from deepfake_triton.errors import (
    DeadlineExceeded,
    ServerError,
    ServerOverloaded,
    ServerUnreachable,
    TransportUnavailable,
)
from deepfake_triton.host.addresses import is_loopback, split_host_port

NO_REFUSAL = (ServerUnreachable, DeadlineExceeded, ServerOverloaded)
"""Errors that do not mean that a server refuses shared memory."""
REFUSAL_S = 60.0
"""Time until shared memory is tried again at a server that refused it."""


class Transport(Enum):
    """Transport of frames to a server.

    Attributes:
        AUTO: Shared memory where client and server share a host and its IPC namespace, else gRPC.
        GRPC: Raw frames in the gRPC message.
        SHARED_MEMORY: Shared memory, or TransportUnavailable.
        JPEG: JPEG files in the gRPC message, for slow networks; probabilities change a little.
    """

    AUTO = "auto"
    GRPC = "grpc"
    SHARED_MEMORY = "shared-memory"
    JPEG = "jpeg"


class TransportSelector:
    """Transport and shared-memory regions for each endpoint of a client. Usable from many threads."""

    def __init__(
        self, transport: Transport, urls: Sequence[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.transport = transport
        self._clock = clock
        self.pools = {url: RegionPool() for url in urls}
        self._local = {url for url in urls if _is_local(url)}
        self._refused_until: dict[str, float] = {}
        self._used: set[str] = set()
        self._lock = threading.Lock()

    def uses_shared_memory(self, url: str) -> bool:
        """Whether frames go to that server through shared memory."""
        if self.transport is Transport.AUTO:
            return url in self._local and self._clock() >= self._refused_until.get(url, 0.0)
        return self.transport is Transport.SHARED_MEMORY

    def transport_for(self, region: Region | None) -> Transport:
        """Return the transport of one request, whose frames have that region or none."""
        if self.transport is Transport.JPEG:
            return Transport.JPEG
        return Transport.GRPC if region is None else Transport.SHARED_MEMORY

    def is_first_use(self, url: str) -> bool:
        """Return True once for each server: then what clients that have gone left there is swept."""
        with self._lock:
            is_first = url not in self._used
            self._used.add(url)
            return is_first

    def mark_refused(self, url: str, error: ServerError | OSError) -> None:
        """Record that shared memory does not work there. Raises TransportUnavailable where nothing else is
        allowed."""
        self._refused_until[url] = self._clock() + REFUSAL_S
        if self.transport is Transport.SHARED_MEMORY:
            raise TransportUnavailable(
                f"{url}: shared memory cannot be used ({error}); it takes a server on this host that sees "
                "this /dev/shm and lets callers register memory: send the frames over gRPC instead"
            ) from error


def _is_local(url: str) -> bool:
    if sys.platform != "linux" or not FOLDER.is_dir():
        return False
    return is_loopback(split_host_port(url)[0])
