"""Shared memory of a client and the servers on its host, so that frames need not pass through gRPC."""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deepfake_triton.shared_memory.regions import file_name, is_orphan, new_region_name

FOLDER = Path("/dev/shm")
MAX_BYTES = 512 * 2**20
"""Maximum total size of the regions of one client at one server; requests beyond that carry their frames."""
UNREGISTER_TIMEOUT_S = 1.0
"""Time-out of a call that unregisters a region."""
UNREGISTER_PAUSES_S = (0.0, 0.001, 0.004, 0.02, 0.1)
"""Pauses before the attempts to unregister a region: Triton lets go of it a moment after the answer to its
last request."""
_STEP_BYTES = 2**20


class Region:
    """A named region of shared memory, of `size` bytes rounded up to 1 MiB. Raises OSError when /dev/shm is
    full."""

    def __init__(self, size: int) -> None:
        self.name = new_region_name()
        self._file = FOLDER / file_name(self.name)
        self.size = -(-size // _STEP_BYTES) * _STEP_BYTES
        descriptor = os.open(self._file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self.size)  # without it, a full /dev/shm kills whoever writes
            self._map = mmap.mmap(descriptor, self.size)
        except OSError:
            self.unlink()
            raise
        finally:
            os.close(descriptor)

    @property
    def key(self) -> str:
        """Name of the region's file as shm_open(3) takes it."""
        return f"/{self._file.name}"

    def fill(self, array: npt.NDArray[np.uint8]) -> None:
        """Copy the array, of any shape, to the region's start."""
        np.copyto(np.frombuffer(self._map, np.uint8, array.size).reshape(array.shape), array)

    def unlink(self) -> None:
        """Remove the region's file; processes that have mapped it keep the memory."""
        self._file.unlink(missing_ok=True)


def sweep_files() -> None:
    """Remove the region files of this user's clients that were killed while a server was mapping them."""
    try:
        names = [path.name for path in FOLDER.iterdir()]
    except OSError:
        return  # it cannot be listed
    for name in filter(is_orphan, names):
        with contextlib.suppress(OSError):  # another sweep was faster
            if (FOLDER / name).lstat().st_uid == os.geteuid():
                (FOLDER / name).unlink()


class RegionPool:
    """Regions of a client that are registered at one server. Usable from many threads.

    A region is reused once the server has answered its request. One whose request was given up is retired: a
    server that is still at work on that would read the frames of another clip.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: list[Region] = []
        self._registered: dict[str, Region] = {}
        self._retired: dict[str, Region] = {}

    def check_out(self, size: int) -> Region | None:
        """Return the smallest free region of at least `size` bytes; None when there is none."""
        with self._lock:
            fits = [region for region in self._free if region.size >= size]
            if not fits:
                return None
            chosen = min(fits, key=lambda region: region.size)
            self._free.remove(chosen)
            return chosen

    def retire_largest(self) -> None:
        """Retire the largest free region, which was too small."""
        with self._lock:
            if self._free:
                self._retire(max(self._free, key=lambda region: region.size))

    def retire(self, region: Region) -> None:
        """Never reuse a region."""
        with self._lock:
            self._retire(region)

    def retired(self) -> list[str]:
        """Return the names of retired regions that are still to be unregistered."""
        with self._lock:
            return list(self._retired)

    def mark_unregistered(self, name: str) -> None:
        """Forget a retired region that the server has let go of."""
        with self._lock:
            self._retired.pop(name, None)

    def discard(self, region: Region) -> None:
        """Forget a region that the server does not know; others may be newer than its restart."""
        with self._lock:
            self._registered.pop(region.name, None)
            if region in self._free:
                self._free.remove(region)

    def has_room(self, size: int) -> bool:
        """Whether another region of `size` bytes keeps within MAX_BYTES."""
        with self._lock:
            kept = (*self._registered.values(), *self._retired.values())
            return sum(region.size for region in kept) + size <= MAX_BYTES

    def add(self, region: Region) -> None:
        """Add a region that is being registered; it is checked out to its creator."""
        with self._lock:
            self._registered[region.name] = region

    def check_in(self, region: Region) -> None:
        """Return a region whose request the server has answered."""
        with self._lock:
            if region.name in self._registered:
                self._free.append(region)

    def clear(self) -> list[str]:
        """Forget all regions, also those that are checked out, and return their names."""
        with self._lock:
            names = [*self._registered, *self._retired]
            self._registered.clear()
            self._free.clear()
            self._retired.clear()
            return names

    def _retire(self, region: Region) -> None:
        self._registered.pop(region.name, None)
        if region in self._free:
            self._free.remove(region)
        self._retired[region.name] = region
