"""Dataset manifest: a CSV with one row per video or photo: label, identity, source, split."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_args

from deepfake_triton.errors import DatasetError
from deepfake_triton.files.atomic import atomic_write
from deepfake_triton.files.hashing import sha256_of_file

Label = Literal["real", "fake"]
Split = Literal["train", "val", "test", "transfer"]
"""`transfer` holds a collection that is never trained on, to measure and to choose on foreign data."""
SPLITS: tuple[Split, ...] = get_args(Split)
TransferHalf = Literal["transfer-even", "transfer-odd"]
EVEN: TransferHalf = "transfer-even"
ODD: TransferHalf = "transfer-odd"
"""Halves of `transfer` by person: choices and calibration see the even one alone."""
TRANSFER_HALVES = (EVEN, ODD)
ALL = "all"
"""Choice of the rows of every split."""
SPLIT_CHOICES: tuple[str, ...] = (*SPLITS, *TRANSFER_HALVES)


@dataclass(frozen=True)
class ManifestRow:
    """One labeled file; `path` and `original` are relative to the manifest's folder, or absolute.

    `identity` names the people in it, joined by "+"; `source` is the dataset, `manipulation` the method of a
    fake, and `original` the real file it was made from; the last two are empty where unknown. `condition` is
    what was done to real and fake alike, known by construction, such as "roll=15"; empty for nothing.
    """

    path: str
    label: Label
    identity: str
    source: str
    manipulation: str
    original: str
    split: Split
    condition: str = ""


_OPTIONAL_COLUMNS = ("condition",)
"""Columns that files of earlier releases lack, and that are written only where a row has a value."""
COLUMNS = tuple(field.name for field in fields(ManifestRow) if field.name not in _OPTIONAL_COLUMNS)


def transfer_half(identity: str) -> TransferHalf | None:
    """Return the half of `transfer` that the people of a file are in; None where they are in both.

    The half of a person is even where the last hex digit of the SHA-256 of the name in UTF-8 is. The name is
    what follows the first ":" of an identity: `dataset index` puts the folder's name before it.
    """
    names = [person.split(":", 1)[-1] for person in identity.split("+")]
    digits = {int(hashlib.sha256(name.encode()).hexdigest()[-1], 16) % 2 for name in names}
    if len(digits) > 1:
        return None
    return ODD if digits.pop() else EVEN


def split_with_half(row: ManifestRow) -> str:
    """Return the split of a row, with its half where it is `transfer`."""
    return half_of_split(row.split, row.identity)


def half_of_split(split: Split, identity: str) -> str:
    """Return the split of a file with these people, with its half where it is `transfer`."""
    return (transfer_half(identity) or split) if split == "transfer" else split


def rows_of_splits(rows: Iterable[ManifestRow], choices: Collection[str]) -> list[ManifestRow]:
    """Return the rows of some of `SPLIT_CHOICES`, or of `ALL`, in their order."""
    return [row for row in rows if ALL in choices or row.split in choices or split_with_half(row) in choices]


def write_manifest(path: Path, rows: Iterable[ManifestRow]) -> str:
    """Write a manifest as CSV, sorted by path, and return its SHA-256, which checkpoints refer to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = sorted(rows, key=lambda row: row.path)
    columns = (*COLUMNS, *(name for name in _OPTIONAL_COLUMNS if any(getattr(row, name) for row in rows)))
    with atomic_write(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([getattr(row, name) for name in columns] for row in rows)
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
    names = (*COLUMNS, *_OPTIONAL_COLUMNS)
    return ManifestRow(**{name: values.get(name) or "" for name in names})  # type: ignore[arg-type]
