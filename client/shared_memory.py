"""Memory that a client and a server on its host both see, so that frames need not pass through gRPC."""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deepfake_triton.shared_regions import file_name, is_orphan, new_region_name

FOLDER = Path("/dev/shm")
MOST_BYTES = 512 * 2**20
"""In all regions of one client for one server; callers beyond that send their frames."""
UNREGISTER_TIMEOUT_S = 1.0
"""Nobody waits longer for a server to give a region back."""
UNREGISTER_PAUSES_S = (0.0, 0.001, 0.004, 0.02, 0.1)
"""Before each attempt: Triton gives a region back a moment after the answer to its last request."""
_STEP_BYTES = 2**20


class Region:
    """A piece of memory with a name. Raises OSError when there is no room for it."""

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
        """As shm_open(3) takes it."""
        return f"/{self._file.name}"

    def fill(self, array: npt.NDArray[np.uint8]) -> None:
        """Copy the array to the region's start."""
        np.copyto(np.frombuffer(self._map, np.uint8, array.size).reshape(array.shape), array)

    def unlink(self) -> None:
        """Take its name from the file system; whoever has it open keeps it."""
        self._file.unlink(missing_ok=True)


def sweep_files() -> None:
    """Remove the files of this user's clients that were killed while a server was opening them."""
    try:
        names = [path.name for path in FOLDER.iterdir()]
    except OSError:
        return  # it cannot be listed
    for name in filter(is_orphan, names):
        with contextlib.suppress(OSError):  # another sweep was faster
            if (FOLDER / name).lstat().st_uid == os.geteuid():
                (FOLDER / name).unlink()


class RegionPool:
    """A client's regions that one server has opened. Usable from many threads.

    A region is lent again once the server has answered its request. One whose request was given up is
    retired: a server that is still at work on it would read the frames of another clip.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: list[Region] = []
        self._known: dict[str, Region] = {}
        self._retired: dict[str, Region] = {}

    def take(self, size: int) -> Region | None:
        """The smallest free region of `size` bytes or more; None when there is none."""
        with self._lock:
            fits = [region for region in self._free if region.size >= size]
            if not fits:
                return None
            chosen = min(fits, key=lambda region: region.size)
            self._free.remove(chosen)
            return chosen

    def evict(self) -> None:
        """Retire the largest free region, which was too small."""
        with self._lock:
            if self._free:
                self._retire(max(self._free, key=lambda region: region.size))

    def retire(self, region: Region) -> None:
        """Never lend it again."""
        with self._lock:
            self._retire(region)

    def retired(self) -> list[str]:
        """Names of retired regions that the server may still have, to be unregistered."""
        with self._lock:
            return list(self._retired)

    def unregistered(self, name: str) -> None:
        """The server has let go of a retired region."""
        with self._lock:
            self._retired.pop(name, None)

    def drop(self, region: Region) -> None:
        """The server does not know this one, which is lent; others may be newer than its restart."""
        with self._lock:
            self._known.pop(region.name, None)
            if region in self._free:
                self._free.remove(region)

    def has_room(self, size: int) -> bool:
        """Whether another region of `size` bytes may be made."""
        with self._lock:
            kept = (*self._known.values(), *self._retired.values())
            return sum(region.size for region in kept) + size <= MOST_BYTES

    def add(self, region: Region) -> None:
        """The server is about to open it, for whoever made it."""
        with self._lock:
            self._known[region.name] = region

    def give_back(self, region: Region) -> None:
        """Its request has ended, and the server has said so."""
        with self._lock:
            if region.name in self._known:
                self._free.append(region)

    def forget(self) -> list[str]:
        """Drop all regions, also those that are lent; their names."""
        with self._lock:
            names = [*self._known, *self._retired]
            self._known.clear()
            self._free.clear()
            self._retired.clear()
            return names

    def _retire(self, region: Region) -> None:
        self._known.pop(region.name, None)
        if region in self._free:
            self._free.remove(region)
        self._retired[region.name] = region
