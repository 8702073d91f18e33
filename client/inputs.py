"""What a caller names to the videos that it stands for: files, folders, patterns, lists."""

from __future__ import annotations

import csv
import glob
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deepfake_triton.errors import DatasetError, DeepfakeError, VideoNotFound, VideoUnreadable
from deepfake_triton.preprocessing.media_files import VIDEO_SUFFIXES

LIST_SUFFIXES = (".csv", ".jsonl", ".ndjson")
_COLUMNS = ("path", "video", "file")


@dataclass(frozen=True)
class NamedVideo:
    """A video to judge; or what was named and stands for none, with why."""

    path: str
    error: DeepfakeError | None = None


def named_videos(names: Sequence[str]) -> list[NamedVideo]:
    """Files as they are; the videos below folders, sorted; those that a pattern such as `clips/**/*.mp4`
    matches; those in the column or key `path` (or `video`, `file`) of a CSV file or of JSON lines, relative
    to it.
    """
    return [found for name in names for found in _found(name)]


def _found(name: str) -> list[NamedVideo]:
    path = Path(name)
    try:
        if path.is_dir():
            inside = sorted(each for each in path.rglob("*") if each.suffix.lower() in VIDEO_SUFFIXES)
            files = [NamedVideo(str(each)) for each in inside if each.is_file()]
            return files or [_none(name, VideoUnreadable(f"{name}: is a directory without a video"))]
        if path.suffix.lower() in LIST_SUFFIXES and path.is_file():
            return _listed(path) or [_none(name, DatasetError(f"{name}: names no video"))]
        if glob.has_magic(name) and not path.exists():
            found = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - Path's takes no absolute pattern
            matches = [each for each in found if Path(each).is_file()]
            none = _none(name, VideoNotFound(f"{name}: no such file, and no file matches"))
            return [NamedVideo(each) for each in matches] or [none]
    except (OSError, ValueError):  # a name that no file can have; opening it says more
        pass
    except DatasetError as error:
        return [_none(name, error)]
    return [NamedVideo(name)]


def _none(name: str, error: DeepfakeError) -> NamedVideo:
    return NamedVideo(name, error)


def _listed(path: Path) -> list[NamedVideo]:
    """Raises DatasetError, with the line, where a row names no video."""
    read = _csv_rows if path.suffix.lower() == ".csv" else _json_rows
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [NamedVideo(str(path.parent / video)) for video in read(path, file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: cannot be read as a list of videos: {error}") from error


def _csv_rows(path: Path, lines: Iterator[str]) -> Iterator[str]:
    reader = csv.DictReader(lines)
    column = next((name for name in _COLUMNS if name in (reader.fieldnames or ())), None)
    if column is None:
        raise DatasetError(f"{path}: got the columns {reader.fieldnames}, expected one named path")
    for row in reader:
        if not row[column]:
            raise DatasetError(f"{path}, line {reader.line_num}: {column} is empty")
        yield row[column]


def _json_rows(path: Path, lines: Iterator[str]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DatasetError(f"{path}, line {number}: is no JSON: {error}") from error
        video = row if isinstance(row, str) else None
        if isinstance(row, dict):
            video = next((row[name] for name in _COLUMNS if name in row), None)
        if not isinstance(video, str) or not video:
            raise DatasetError(f'{path}, line {number}: expected an object such as {{"path": "a.mp4"}}')
        yield video
