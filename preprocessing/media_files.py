"""Which files of a folder are videos and photos."""

from __future__ import annotations

from pathlib import Path

VIDEO_SUFFIXES = frozenset((".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"))
PHOTO_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp"))


def media_files(folder: Path) -> list[Path]:
    """All videos and photos below `folder`, at any depth, sorted."""
    known = VIDEO_SUFFIXES | PHOTO_SUFFIXES
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in known and path.is_file())
