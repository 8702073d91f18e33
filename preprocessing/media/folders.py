"""List the videos and photos of folders."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from deepfake_triton.errors import VideoUnreadable
from deepfake_triton.files.foreign_names import is_foreign

VIDEO_SUFFIXES = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".mj2"),
        *(".mkv", ".webm", ".avi", ".divx", ".flv", ".f4v", ".wmv", ".asf"),
        *(".mpg", ".mpeg", ".m1v", ".m2v", ".vob", ".ts", ".mts", ".m2ts", ".m2t"),
        *(".ogv", ".ogm", ".mxf", ".dv", ".gif", ".apng", ".y4m", ".nut", ".rm", ".rmvb", ".wtv"),
        *(".h264", ".264", ".h265", ".265", ".hevc", ".ivf", ".obu", ".mjpeg", ".mjpg"),
    )
)
PHOTO_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".heic", ".heif", ".avif", ".tif", ".tiff")
)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


@dataclass(frozen=True)
class FolderContent:
    """Files below a folder, sorted, and the folders below it that cannot be read."""

    files: tuple[Path, ...]
    unreadable: tuple[Path, ...]


def list_media_files(folder: Path) -> list[Path]:
    """List all videos and photos below `folder`, at any depth, sorted."""
    content = list_files(folder, VIDEO_SUFFIXES | PHOTO_SUFFIXES)
    return [path for path in content.files if path.is_file()]


def list_files(folder: Path, suffixes: Iterable[str] | None = None) -> FolderContent:
    """List the files below `folder`, at any depth, that have one of the `suffixes` (None: any).

    Linked folders are followed, each once, on the path with the fewest links. Files that only file systems
    and desktops add are left out (`is_foreign`).
    """
    known = None if suffixes is None else frozenset(suffixes)
    found, unreadable = list[Path](), list[Path]()
    waiting, linked = deque([folder]), deque[Path]()
    entered = set[tuple[int, int]]()
    while waiting or linked:
        current = waiting.popleft() if waiting else linked.popleft()
        try:
            status = current.stat()
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            with os.scandir(current) as entries:
                for entry in entries:
                    path = current / entry.name
                    if is_foreign(entry.name):
                        continue
                    if _is_folder(entry):
                        (linked if entry.is_symlink() else waiting).append(path)
                    elif known is None or path.suffix.lower() in known:
                        found.append(path)
        except OSError:
            unreadable.append(current)
    return FolderContent(tuple(sorted(found)), tuple(sorted(unreadable)))


def require_local_path(name: str) -> None:
    """Raise VideoUnreadable for a URL, since only local files are opened."""
    match = _ADDRESS.match(name)
    if match is None or os.path.lexists(name):
        return
    if name.lower().startswith("file://"):
        raise VideoUnreadable(f"{name}: is an address of a file; name its path instead")
    raise VideoUnreadable(
        f"{name}: is an address ({match[0]}…), only files are opened; download it first, and name its file"
    )


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads in a circle
        return False
