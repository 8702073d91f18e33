"""Expansion of command-line arguments to videos: files, folders, patterns, lists."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from deepfake_triton.client.detect.lists import LIST_SUFFIXES, ListedName, read_list
from deepfake_triton.errors import DatasetError, DeepfakeError, InputError, VideoNotFound, VideoUnreadable
from deepfake_triton.files.foreign_names import is_foreign
from deepfake_triton.preprocessing.media.folders import VIDEO_SUFFIXES, list_files, require_local_path


@dataclass(frozen=True)
class NamedVideo:
    """A video to detect; or an argument that names none, with the error."""

    path: str
    error: DeepfakeError | None = None


def expand_videos(names: Sequence[str], drawn: Collection[str] = ()) -> list[NamedVideo]:
    """Expand arguments to videos: files as they are; the videos below folders, sorted, those of linked
    folders once; the matches of a pattern such as `clips/**/*.mp4`; the column or key `path` (or `video`,
    `file`) of a CSV file or of JSON lines, relative to it. A row that names no video becomes an entry with
    its error.

    Folders and patterns leave out foreign names such as `._clip.mp4`, and the plots and overlays that an
    earlier run has `drawn`, given as absolute paths without links.
    """
    return [video for name in names for video in _expand(name, drawn)]


def _expand(name: str, drawn: Collection[str]) -> list[NamedVideo]:
    path = Path(name)
    try:
        _require_name(name)
        if path.is_dir():
            return _in_folder(name, path, drawn)
        if path.suffix.lower() in LIST_SUFFIXES and path.is_file():
            listed = [_video_from_row(path, row) for row in read_list(path)]
            return listed or [NamedVideo(name, DatasetError(f"{name}: names no video"))]
        if glob.has_magic(name) and not os.path.lexists(name):
            none = VideoNotFound(f"{name}: no such file, and no file matches")
            return [NamedVideo(match) for match in _matches(name, drawn)] or [NamedVideo(name, none)]
    except (OSError, ValueError):  # an impossible file name; opening it says more
        pass
    except (DatasetError, InputError) as error:
        return [NamedVideo(name, error)]
    return [NamedVideo(name)]


def _require_name(name: str) -> None:
    """Raises InputError for an argument that is no file name, such as an address."""
    if not name:
        raise VideoNotFound("(empty): an empty name; expected a video file, a folder, or . for this folder")
    require_local_path(name)
    if name.startswith("~") and not os.path.lexists(name):
        raise VideoNotFound(f"{name}: no such file; ~ is left to the shell: write the home folder out")


def _in_folder(name: str, folder: Path, drawn: Collection[str]) -> list[NamedVideo]:
    content = list_files(folder, VIDEO_SUFFIXES)
    found = [NamedVideo(str(file)) for file in content.files if not _is_drawn(file, drawn)]
    found += [
        NamedVideo(str(subfolder), VideoUnreadable(f"{subfolder}: this folder cannot be read"))
        for subfolder in content.unreadable
    ]
    return found or [NamedVideo(name, VideoUnreadable(f"{name}: is a directory without a video"))]


def _video_from_row(path: Path, row: ListedName) -> NamedVideo:
    if row.error:
        return NamedVideo(row.name, row.error)
    try:
        require_local_path(row.name)
    except InputError as error:
        return NamedVideo(row.name, error)
    return NamedVideo(str(path.parent / row.name))


def _is_drawn(path: Path, drawn: Collection[str]) -> bool:
    return bool(drawn) and os.path.realpath(path) in drawn


def _matches(pattern: str, drawn: Collection[str]) -> list[str]:
    """Return the files that match a pattern, sorted; one that is reached over several links to folders once,
    by its shortest path."""
    named = set(Path(pattern).parts)
    matches: dict[str, str] = {}
    for name in sorted(_glob(pattern), key=lambda name: (len(name), name)):
        path = Path(name)
        if (
            path.is_dir()
            or _is_drawn(path, drawn)
            or any(is_foreign(part) for part in path.parts if part not in named)
        ):
            continue
        matches.setdefault(str(Path(os.path.realpath(path.parent), path.name)), name)
    return sorted(matches.values())


def _glob(pattern: str) -> list[str]:
    """Return the matches of a pattern. `**` enters each linked folder once: glob follows links in circles."""
    parts = Path(pattern).parts
    at = parts.index("**") if "**" in parts else len(parts)
    if at == len(parts) or any(is_foreign(part) for part in parts[at:]):
        return glob.glob(pattern, recursive=True)  # noqa: PTH207 - Path's takes no absolute pattern
    roots = glob.glob(str(Path(*parts[:at]))) if at else ["."]  # noqa: PTH207
    return [
        str(file)
        for root in roots
        for file in list_files(Path(root)).files
        if _fits(file.relative_to(root).parts, parts[at:])
    ]


def _fits(names: Sequence[str], patterns: Sequence[str]) -> bool:
    if not patterns:
        return not names
    if patterns[0] == "**":
        return any(_fits(names[skipped:], patterns[1:]) for skipped in range(len(names) + 1))
    return bool(names) and fnmatch.fnmatchcase(names[0], patterns[0]) and _fits(names[1:], patterns[1:])
