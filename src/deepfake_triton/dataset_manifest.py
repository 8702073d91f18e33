"""Dataset manifest: a CSV with one row per video or photo: label, identity, source, split."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_args

from deepfake_triton.errors import DatasetError
from deepfake_triton.files.atomic import atomic_write
from deepfake_triton.files.hashing import sha256_of_file

Label = Literal["real", "fake"]
Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class ManifestRow:
    """One labeled file; `path` and `original` are relative to the manifest's folder, or absolute.

    `identity` names the people in it, joined by "+"; `source` is the dataset, `manipulation` the method of a
    fake, and `original` the real file it was made from; the last two are empty where unknown.
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
    """Write a manifest as CSV, sorted by path, and return its SHA-256, which checkpoints refer to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(
            [getattr(row, name) for name in COLUMNS] for row in sorted(rows, key=lambda r: r.path)
        )
    return sha256_of_file(path)


def read_manifest(path: Path) -> list[ManifestRow]:
    """Read a manifest. Raises DatasetError, naming the line, when it is not one or a value is invalid."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets begin it with a mark
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
