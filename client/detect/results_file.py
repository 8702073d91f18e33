"""Results file: JSON lines that are written as verdicts come, so that a rerun resumes where it stopped."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import threading
from collections.abc import Iterable
from io import FileIO
from pathlib import Path
from types import TracebackType

from deepfake_triton.client.detect.result_line import ResultLine
from deepfake_triton.errors import DatasetError
from deepfake_triton.files.atomic import partial_beside
from deepfake_triton.files.outputs import describe_non_file

_FIRST_CHARACTERS = '{"video": '


class ResultsFile:
    """JSON lines, one for each video, of an earlier run and of this one. On opening, lines of failures and an
    incomplete last line are removed. Usable from many threads."""

    def __init__(self, path: Path) -> None:
        """Raises DatasetError when the file holds something else, cannot be written, or is being written by
        another run; it is then left as it is."""
        self.path = Path(os.path.realpath(path))  # what a link leads to is replaced, not the link
        self._lock = threading.Lock()
        try:
            self._file = _open_locked(self.path)
            try:
                content = self._file.read()
                self._lines = _lines_in(self.path, content)
                self._size = len(content)
                if content != _encoded(self._lines.values()):
                    self._rewrite()
            except BaseException:
                self._file.close()
                raise
        except (OSError, UnicodeDecodeError) as error:
            raise DatasetError(f"{path}: cannot be used for results: {error}") from error
        self._has_replaced_lines = False

    def verdict_on(self, video: str) -> ResultLine | None:
        """Return the line of a video; None where there is none, or the video failed."""
        line = self._lines.get(video)
        return None if line is None or line.is_failure else line

    def add(self, line: ResultLine) -> None:
        """Write a line, in place of the video's earlier one; it is on the disk when this returns.

        Raises DatasetError, such as for a full disk; then the lines before are whole, and more may be added.
        """
        with self._lock:
            try:
                self._append(_encoded([line]))
            except OSError as error:
                raise DatasetError(f"{self.path}: cannot be written: {error.strerror or error}") from error
            self._has_replaced_lines |= self._lines.pop(line.video, None) is not None
            self._lines[line.video] = line

    def close(self) -> None:
        """Remove lines that later ones replaced, and close the file. Raises DatasetError where they stay."""
        with self._lock:
            try:
                if self._has_replaced_lines and not self._file.closed:
                    self._rewrite()
                    self._has_replaced_lines = False
            except OSError as error:
                raise DatasetError(
                    f"{self.path}: lines that were replaced are still in it: {error.strerror or error}; the "
                    "last one of each video counts"
                ) from error
            finally:
                self._file.close()

    def __enter__(self) -> ResultsFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _append(self, text: bytes) -> None:
        try:
            left = memoryview(text)
            while left:
                left = left[self._file.write(left) or 0 :]
            os.fsync(self._file.fileno())
        except OSError:
            with contextlib.suppress(OSError):  # a part of a line would spoil the next one
                os.ftruncate(self._file.fileno(), self._size)
            raise
        self._size += len(text)

    def _rewrite(self) -> None:
        """Replace the file by one with a line for each video, and keep its lock."""
        text = _encoded(self._lines.values())
        partial = partial_beside(self.path)
        new = FileIO(partial, "w+")
        try:
            shutil.copymode(self.path, partial)
            fcntl.flock(new, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left = memoryview(text)
            while left:
                left = left[new.write(left) or 0 :]
            os.fsync(new.fileno())
            partial.replace(self.path)
        except BaseException:
            new.close()
            partial.unlink(missing_ok=True)
            raise
        self._file.close()
        self._file, self._size = new, len(text)


def drawn_files(path: Path) -> frozenset[str]:
    """Return the plots and overlays of earlier runs, by the results in that file: absolute paths without
    links.

    Empty where the results cannot be read; opening them as a ResultsFile says why.
    """
    found: set[str] = set()
    try:
        lines = path.read_text("utf-8-sig", errors="replace").split("\n") if path.is_file() else []
        for line in lines:
            row = json.loads(line) if '"drawn"' in line else None
            drawn = row.get("drawn") if isinstance(row, dict) else None
            found.update(os.path.realpath(str(name)) for name in drawn or ())
    except (OSError, ValueError, TypeError, RecursionError):
        return frozenset()
    return frozenset(found)


def _encoded(lines: Iterable[ResultLine]) -> bytes:
    return "".join(json.dumps(line.document) + "\n" for line in lines).encode()


def _lines_in(path: Path, content: bytes) -> dict[str, ResultLine]:
    """Verdicts by video. Raises DatasetError for a file that no run of ours wrote."""
    found: dict[str, ResultLine] = {}
    texts = content.decode("utf-8-sig").split("\n")
    for number, text in enumerate(texts, 1):
        if not text.strip():
            continue
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            if number == len(texts) and text[: len(_FIRST_CHARACTERS)] == _FIRST_CHARACTERS[: len(text)]:
                continue  # incomplete: the run was killed meanwhile
            raise _no_verdict(path, number) from error
        try:
            line = ResultLine.from_json(document)
        except ValueError as error:
            raise _no_verdict(path, number) from error
        found.pop(line.video, None)
        if not line.is_failure:
            found[line.video] = line
    return found


def _no_verdict(path: Path, number: int) -> DatasetError:
    return DatasetError(f"{path}, line {number}: is no verdict; name a file of an earlier run, or a new one")


def _require_file(path: Path, mode: int) -> None:
    """Raises DatasetError for what has no end, such as /dev/zero."""
    if wrong := describe_non_file(mode):
        raise DatasetError(f"{path}: is {wrong}, new or of an earlier run")


def _open_locked(path: Path) -> FileIO:
    """Open the file, created if missing, and lock it. Raises DatasetError when another run has it, and for a
    folder or a device."""
    if path.exists():
        _require_file(path, path.stat().st_mode)
    while True:
        file = FileIO(path, "a+")
        try:
            _require_file(path, os.fstat(file.fileno()).st_mode)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno())):
                file.seek(0)
                return file
        except BlockingIOError as error:
            file.close()
            raise DatasetError(
                f"{path}: another run writes to it; wait for its end, or name another file"
            ) from error
        except BaseException:
            file.close()
            raise
        file.close()  # another run replaced it meanwhile
