"""Adapt file objects of every kind to seekable files: uploads, buffers, compressed files."""

from __future__ import annotations

import contextlib
import inspect
import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deepfake_triton.contracts import MAX_FILE_BYTES
from deepfake_triton.errors import VideoUnreadable

_BUFFER_BYTES = 1 << 16
_OBJECT_ERRORS = (LookupError, TypeError, AttributeError, ArithmeticError, AssertionError)
"""What broken file-like objects raise; reported with the exception's type, since their texts say little."""
_READ_ERRORS = (
    *(OSError, ValueError, EOFError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile),
    *_OBJECT_ERRORS,
)
"""What the standard library's files raise when they are damaged, closed, or unsupported."""


def display_name(video: Any) -> Path:
    """Return the name of an open file for messages: its own, or a placeholder for a number or none."""
    name = getattr(video, "name", None)
    if isinstance(name, bytes):
        name = os.fsdecode(name)
    if isinstance(name, int):
        name = f"(file descriptor {name})"
    return Path(name if isinstance(name, str) and name else "(stream)")


@contextlib.contextmanager
def adapt_file(video: Any, path: Path) -> Iterator[tuple[io.BufferedReader, int]]:
    """Adapt a caller's open file to a seekable file; yield it with its size, and restore its position.

    Uses only `read`, absolute `seek`, and `tell`. Python's own errors become VideoUnreadable; those of a
    library that derive from none of them reach the caller unchanged. `path` names the file in messages.
    """
    _require_readable(video, path)
    source = _Source(video, path)
    with source.convert_errors("cannot be read"):
        before = video.tell()
    try:
        yield io.BufferedReader(source, _BUFFER_BYTES), source.size()
    finally:
        with contextlib.suppress(*_READ_ERRORS):
            video.seek(before)
    if source.failure is not None:
        raise source.failure


def _require_readable(video: Any, path: Path) -> None:
    """Raise VideoUnreadable unless the object is a seekable binary file open for reading."""
    if getattr(video, "closed", False):
        raise VideoUnreadable(f"{path}: is closed; expected an open file")
    if not all(callable(getattr(video, name, None)) for name in ("read", "seek", "tell")):
        raise VideoUnreadable(
            f"{path}: got {type(video).__name__}; expected a path, or a file object that can read and seek"
        )
    if inspect.iscoroutinefunction(video.read):
        raise VideoUnreadable(f"{path}: reads asynchronously; hand over the file inside, as `upload.file` is")
    if isinstance(video, io.TextIOBase):
        raise VideoUnreadable(f"{path}: is open for text; open it with mode 'rb'")
    if hasattr(video, "readable") and not video.readable():
        raise VideoUnreadable(f"{path}: is open for writing only; open it with mode 'rb'")
    if hasattr(video, "seekable") and not video.seekable():
        raise VideoUnreadable(f"{path}: expected a file object that can seek")


class _Source(io.RawIOBase):
    """Raw stream over a caller's file, which it does not close. `failure` is its first error."""

    def __init__(self, file: Any, path: Path) -> None:
        self.name = str(path)  # FFmpeg goes by the suffix where the bytes alone do not tell
        self.failure: VideoUnreadable | None = None
        self._file = file
        self._path = path
        self._position = 0

    @contextlib.contextmanager
    def convert_errors(self, what: str) -> Iterator[None]:
        """Convert errors to VideoUnreadable and keep the first: FFmpeg takes some for the end of the file."""
        try:
            yield
        except _READ_ERRORS as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            if isinstance(error, _OBJECT_ERRORS):
                reason = f"{type(error).__name__}: {error}"
            self.failure = self.failure or VideoUnreadable(f"{self._path}: {what}: {reason}")
            raise self.failure from error

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with self.convert_errors("cannot be read"):
            self._file.seek(self._position)
            data = self._file.read(len(buffer))
        if not isinstance(data, bytes | bytearray | memoryview):
            got = "text; open it with mode 'rb'" if isinstance(data, str) else type(data).__name__
            self.failure = VideoUnreadable(f"{self._path}: expected bytes when reading, got {got}")
            raise self.failure
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position}
        self._position = max(0, offset + (start[whence] if whence in start else self.size()))
        return self._position

    def tell(self) -> int:
        return self._position

    def size(self) -> int:
        """Determine the size by seeking to the end, or by reading everything where that is not supported."""
        with self.convert_errors("cannot be read"):
            try:
                self._file.seek(0, os.SEEK_END)
                return int(self._file.tell())
            except (TypeError, ValueError, NotImplementedError):
                self._file.seek(0)
            total = 0
            while total <= MAX_FILE_BYTES and (data := self._file.read(1 << 20)):
                total += len(data)
        return total
