"""Lease of one request on its way: a request slot, and a region of shared memory."""

from __future__ import annotations

import threading

from deepfake_triton.client.protocol.in_flight import RequestSlots
from deepfake_triton.client.wire.shared_memory import Region, RegionPool


class Lease:
    """A slot and perhaps a region, released once: by the end of the call, or by a flow that made no call.

    Usable from many threads.
    """

    def __init__(self, url: str, slots: RequestSlots, pool: RegionPool) -> None:
        self.region: Region | None = None
        self._url, self._slots, self._pool = url, slots, pool
        self._lock = threading.Lock()
        self._is_transferred = self._is_released = False

    def transfer(self) -> None:
        """Leave the release to the end of the call."""
        self._is_transferred = True

    def release_unless_transferred(self) -> None:
        """Release the lease of a request for which no call was made."""
        if not self._is_transferred:
            self.release(answered=True)

    def release(self, *, answered: bool) -> None:
        """Release slot and region; the region is reused only if the server has `answered`, and so is done
        with it."""
        with self._lock:
            if self._is_released:
                return
            self._is_released = True
        if self.region is not None:
            if answered:
                self._pool.check_in(self.region)
            else:
                self._pool.retire(self.region)
        self._slots.release(self._url)
