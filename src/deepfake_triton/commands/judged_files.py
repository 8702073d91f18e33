"""Files that `judge` is given: what it skips of them, and what a report tells of each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake_triton.files.hashing import sha256_of_file

if TYPE_CHECKING:
    from deepfake_triton.client.detect.inputs import NamedVideo


def fingerprint(path: Path) -> tuple[str | None, int | None]:
    """Return SHA-256 and size in bytes of a file; None for what cannot be read: a folder, a pipe."""
    try:
        if path.is_file():
            return sha256_of_file(path), path.stat().st_size
    except (OSError, ValueError):
        pass
    return None, None


def num_skipped(names: Sequence[str], videos: Sequence[NamedVideo]) -> int:
    """Return how many files of the named folders are not among the videos.

    What cannot be looked at, such as a name that is too long or a file of a closed folder, is not counted.
    """
    taken = {Path(video.path) for video in videos}
    # os.walk and _is_file ignore what cannot be looked at; Path.rglob, is_dir and is_file raise.
    inside = {Path(folder, file) for name in names for folder, _, files in os.walk(name) for file in files}
    return sum(_is_file(path) for path in inside - taken)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
