"""Names of files and folders that file systems, network storage and desktops add to the user's own."""

from __future__ import annotations

FILE_SYSTEM_FOLDERS = ("lost+found", "@eaDir", "#recycle")
"""Folders that file systems and network storage add beside a server's files."""
_DESKTOP_FOLDERS = ("__MACOSX", "$RECYCLE.BIN", "RECYCLER", "System Volume Information")
_STORAGE_FOLDERS = ("#snapshot", "@Recycle", "@Recently-Snapshot", "@__thumb", "@tmp")
_FOLDED = frozenset(name.casefold() for name in (*FILE_SYSTEM_FOLDERS, *_DESKTOP_FOLDERS, *_STORAGE_FOLDERS))


def is_foreign(name: str) -> bool:
    """Return whether a file or folder of that name is not the user's own: hidden, AppleDouble (`._clip.mp4`),
    trash, snapshots or thumbnails."""
    return name.startswith(".") or name.casefold() in _FOLDED
