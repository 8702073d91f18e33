"""The manifest: one row for each video or photo, with what is known of it before anything is decoded."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_args

from deepfake_triton.errors import DatasetError

Label = Literal["real", "fake"]
Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class ManifestRow:
    """A file with its label; `path` and `original` are relative to the manifest's folder, or absolute.

    `identity` names everybody in it, joined by "+"; `source` is the collection, `manipulation` the method by
    which a fake was made, and `original` the real file that it was made from; both are empty where unknown.
    """

    path: str
    label: Label
    identity: str
    source: str
    manipulation: str
    original: str
    split: Split


COLUMNS = tuple(field.name for field in fields(ManifestRow))


def write_manifest(path: Path, rows: Iterable[ManifestRow]) -> str:
    """Write a manifest as CSV, sorted by path; its SHA-256, by which a checkpoint names its data."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(
            [getattr(row, name) for name in COLUMNS] for row in sorted(rows, key=lambda r: r.path)
        )
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_manifest(path: Path) -> list[ManifestRow]:
    """Read a manifest. Raises DatasetError, with the line, when it is none or a value makes no sense."""
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or [])]
            if missing:
                raise DatasetError(f"{path}: no manifest: the columns {', '.join(missing)} are missing")
            return [_row(path, reader.line_num, values) for values in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: cannot be read as a manifest: {error}") from error


def _row(path: Path, line: int, values: dict[str, str | None]) -> ManifestRow:
    for column, choices in (("label", get_args(Label)), ("split", SPLITS)):
        if values[column] not in choices:
            raise DatasetError(
                f"{path}, line {line}: {column}: got {values[column]!r}, expected {' or '.join(choices)}"
            )
    if not values["path"]:
        raise DatasetError(f"{path}, line {line}: path is empty")
    return ManifestRow(**{name: values[name] or "" for name in COLUMNS})  # type: ignore[arg-type]
