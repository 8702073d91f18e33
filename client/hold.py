"""What one request holds while it is on its way: a place, and a region of shared memory."""

from __future__ import annotations

import threading

from deepfake_triton.client.places import Places
from deepfake_triton.client.shared_memory import Region, RegionPool


class Hold:
    """Given back once, by whoever is first: the end of the call, or a caller that never made it."""

    def __init__(self, url: str, places: Places, pool: RegionPool) -> None:
        self.pool = pool
        self.region: Region | None = None
        self.is_sent = False
        self._url = url
        self._places = places
        self._lock = threading.Lock()
        self._ended = False

    def end(self, answered: bool) -> None:
        """Give all back; `answered`: the server is done with the region, which may be lent again."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
        if self.region is not None:
            if answered:
                self.pool.give_back(self.region)
            else:
                self.pool.retire(self.region)
        self._places.free(self._url)
