"""Verdicts in a file as they come, so that an interrupted run goes on where it was."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from deepfake_triton.errors import DatasetError


class ResultFile:
    """JSON lines, one for each video. Opened again, it knows the videos that have a verdict; those that
    failed, and a last line that was not written to its end, are taken out."""

    def __init__(self, path: Path) -> None:
        """Raises DatasetError when the file holds something else, cannot be written, or is another run's."""
        self.path = path
        self._done: dict[str, dict[str, Any]] = {}
        try:
            self._file = _opened_alone(path)
            try:
                self._read()
                self._rewrite()
            except BaseException:
                self._file.close()
                raise
        except (OSError, UnicodeDecodeError) as error:
            raise DatasetError(f"{path}: cannot be used for results: {error}") from error

    def verdict_on(self, video: str) -> dict[str, Any] | None:
        """The line of an earlier run."""
        return self._done.get(video)

    def add(self, line: dict[str, Any]) -> None:
        """On the disk when this returns. Raises DatasetError, such as for a full disk."""
        try:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise DatasetError(f"{self.path}: cannot be written: {error}") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> ResultFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self) -> None:
        self._file.seek(0)
        lines = self._file.read().split("\n")
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line) if line else {"video": "", "error": "an empty line"}
                video = str(row["video"])
            except (ValueError, TypeError, KeyError) as error:
                if number == len(lines):  # without its end of line: the run was killed meanwhile
                    continue
                raise DatasetError(
                    f"{self.path}, line {number}: is no verdict; name a file of an earlier run, or a new one"
                ) from error
            if not row.get("error"):
                self._done[video] = row

    def _rewrite(self) -> None:
        """Put a file without the lines that are taken out in the place of the old one, and keep its lock."""
        text = "".join(json.dumps(row) + "\n" for row in self._done.values())
        if self._file.tell() == len(text.encode()):
            return
        partial = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        new = partial.open("w+", encoding="utf-8")
        try:
            fcntl.flock(new, fcntl.LOCK_EX | fcntl.LOCK_NB)
            new.write(text)
            new.flush()
            partial.replace(self.path)
        except BaseException:
            new.close()
            partial.unlink(missing_ok=True)
            raise
        self._file.close()
        self._file = new


def _opened_alone(path: Path) -> TextIO:
    """The file, made where there is none, and locked. Raises DatasetError when another run has it."""
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno())):
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
