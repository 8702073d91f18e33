"""Pages that Triton allocated for a Python process, and that nobody uses, go back to the system."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deepfake_triton.shared_pages import discard_untouched_pages

MIB = 2**20
SIZE = 32 * MIB

pytestmark = pytest.mark.fast


@contextmanager
def allocated_region() -> Iterator[tuple[mmap.mmap, Path]]:
    """One that is allocated whole, as Triton does it."""
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        os.posix_fallocate(file.fileno(), 0, SIZE)
        with mmap.mmap(file.fileno(), SIZE) as region:
            yield region, Path(file.name)


def allocated_bytes(path: Path) -> int:
    return 512 * path.stat().st_blocks


def test_what_nobody_wrote_to_is_discarded() -> None:
    with allocated_region() as (region, path):
        region[:4], region[-4:] = b"head", b"tail"
        assert allocated_bytes(path) == SIZE
        discard_untouched_pages()
        assert 0 < allocated_bytes(path) <= 8 * MIB
        assert (region[:4], region[-4:]) == (b"head", b"tail") and not any(region[4 : SIZE - 4 : 4096])
        region[SIZE // 2] = 1  # it is still there to be used
        assert path.stat().st_size == SIZE


def test_a_region_in_use_stays() -> None:
    with allocated_region() as (region, path):
        region[SIZE // 2] = 7
        discard_untouched_pages()
        assert allocated_bytes(path) == SIZE and region[SIZE // 2] == 7
