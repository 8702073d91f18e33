"""Index datasets on disk into one manifest, with a report of every file left out."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deepfake_triton.dataset_manifest import SPLITS, ManifestRow, Split
from deepfake_triton.errors import DatasetError, InputError
from deepfake_triton.files.hashing import sha256_of_file
from deepfake_triton.json_object import JsonObject
from deepfake_triton.preprocessing.video.clip import decode_clip
from deepfake_triton.preprocessing.video.sampling import FrameSelection
from deepfake_triton.training.datasets.layouts import Entry, read_layout
from deepfake_triton.training.datasets.splits import assign_splits

REPORT_SCHEMA_VERSION = 1


@dataclass(frozen=True)
class LeftOut:
    """Files that did not get into a manifest, by reason.

    `double` maps each duplicate to the file that was kept, `contradicting` each file to one of the same
    content and another label, and `unreadable` each file to its error; `surplus` was dropped for balance.
    """

    missing: tuple[str, ...]
    double: dict[str, str]
    contradicting: dict[str, str]
    unreadable: dict[str, str]
    in_two_splits: tuple[str, ...]
    surplus: tuple[str, ...]


@dataclass(frozen=True)
class DatasetIndex:
    """Rows of a manifest, the layout of each dataset folder, and the files left out."""

    rows: tuple[ManifestRow, ...]
    layouts: dict[str, str]
    left_out: LeftOut

    def report(self, manifest_sha256: str) -> IndexReport:
        """Return the report of the manifest that these rows were written to."""
        counts: dict[str, int] = defaultdict(int)
        for row in self.rows:
            counts[f"{row.split} {row.source} {row.label}"] += 1
        return IndexReport(
            manifest_sha256=manifest_sha256,
            layouts=self.layouts,
            rows=len(self.rows),
            counts=dict(sorted(counts.items())),
            left_out=self.left_out,
        )


@dataclass(frozen=True)
class IndexReport:
    """Content of the report beside a manifest: files per split, source and label, and those left out."""

    manifest_sha256: str
    layouts: dict[str, str]
    rows: int
    counts: dict[str, int]
    left_out: LeftOut

    def to_json(self) -> JsonObject:
        """Return the JSON of the report, in which the reasons stand beside the other keys."""
        values = asdict(self)
        left_out = values.pop("left_out")
        return {"schema_version": REPORT_SCHEMA_VERSION, **values, **left_out}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> IndexReport:
        """Read the JSON of a report."""
        return cls(
            manifest_sha256=stored["manifest_sha256"],
            layouts=stored["layouts"],
            rows=stored["rows"],
            counts=stored["counts"],
            left_out=LeftOut(
                missing=tuple(stored["missing"]),
                double=stored["double"],
                contradicting=stored["contradicting"],
                unreadable=stored["unreadable"],
                in_two_splits=tuple(stored["in_two_splits"]),
                surplus=tuple(stored["surplus"]),
            ),
        )


def index_folders(
    roots: Sequence[Path],
    relative_to: Path,
    *,
    seed: int = 0,
    balance: bool = True,
    check: bool = True,
    on_file: Callable[[Path], None] | None = None,
) -> DatasetIndex:
    """Read the dataset folders `roots` into manifest rows with paths relative to the folder `relative_to`.

    `check` decodes one frame of each file; `balance` drops the surplus of labels and sources within each
    split. Raises DatasetError when a folder has no known layout, or no usable file is left.
    """
    layouts, entries = {}, []
    for root in roots:
        layouts[str(root)], found = read_layout(root)
        entries.extend(found)
    present = [entry for entry in entries if entry.path.is_file()]
    missing = sorted(str(entry.path) for entry in entries if not entry.path.is_file())
    unique, double, contradicting = _deduplicate(present)
    readable, unreadable = _check_readable(unique, on_file) if check else (unique, {})
    splits, in_two_splits = assign_splits(readable, seed)
    usable = [entry for entry in readable if entry.path in splits]
    kept = _balance(usable, splits, seed) if balance else usable
    if not kept:
        raise DatasetError(f"{', '.join(map(str, roots))}: no usable video or photo")
    kept_paths = {entry.path for entry in kept}
    surplus = sorted(str(entry.path) for entry in usable if entry.path not in kept_paths)
    return DatasetIndex(
        rows=tuple(_row(entry, splits[entry.path], relative_to) for entry in kept),
        layouts=layouts,
        left_out=LeftOut(
            missing=tuple(missing),
            double=double,
            contradicting=contradicting,
            unreadable=unreadable,
            in_two_splits=tuple(str(path) for path in in_two_splits),
            surplus=tuple(surplus),
        ),
    )


def _row(entry: Entry, split: Split, relative_to: Path) -> ManifestRow:
    original = entry.original if entry.original and entry.original.is_file() else None
    return ManifestRow(
        path=_manifest_path(entry.path, relative_to),
        label=entry.label,
        identity="+".join(sorted(entry.identities)),
        source=entry.source,
        manipulation=entry.manipulation,
        original=_manifest_path(original, relative_to) if original else "",
        split=split,
    )


def _manifest_path(path: Path, relative_to: Path) -> str:
    """Return a path relative to the manifest's folder if it is inside, else the absolute path."""
    absolute, folder = Path.cwd() / path, Path.cwd() / relative_to
    return absolute.relative_to(folder).as_posix() if absolute.is_relative_to(folder) else str(absolute)


def _deduplicate(entries: list[Entry]) -> tuple[list[Entry], dict[str, str], dict[str, str]]:
    """Deduplicate by content; drop files whose copies disagree on the label.

    Returns the entries kept, duplicates by path with the path kept, and contradicting files likewise.
    """
    by_size: dict[int, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_size[entry.path.stat().st_size].append(entry)
    by_content: dict[str, list[Entry]] = defaultdict(list)
    for size, same_size in by_size.items():
        for entry in same_size:
            key = f"{size} {sha256_of_file(entry.path)}" if len(same_size) > 1 else f"{size}"
            by_content[key].append(entry)
    double: dict[str, str] = {}
    contradicting: dict[str, str] = {}
    for first, *others in by_content.values():
        labels = {entry.label for entry in (first, *others)}
        for entry in others:
            (double if len(labels) == 1 else contradicting)[str(entry.path)] = str(first.path)
        if len(labels) > 1:
            contradicting[str(first.path)] = str(others[0].path)
    dropped = double.keys() | contradicting.keys()
    return [entry for entry in entries if str(entry.path) not in dropped], double, contradicting


def _check_readable(
    entries: list[Entry], on_file: Callable[[Path], None] | None
) -> tuple[list[Entry], dict[str, str]]:
    """Decode a frame of every file; return the readable entries, and the error of each other by path."""
    unreadable: dict[str, str] = {}
    for entry in entries:
        if on_file:
            on_file(entry.path)
        try:
            decode_clip(entry.path, FrameSelection(1))
        except InputError as error:
            unreadable[str(entry.path)] = str(error)
    return [entry for entry in entries if str(entry.path) not in unreadable], unreadable


def _balance(entries: Iterable[Entry], splits: dict[Path, Split], seed: int) -> list[Entry]:
    """Keep as many fakes as real files within each split, both spread evenly over their sources.

    A dataset whose fakes outnumber its originals would teach a model the prior, and one large source its
    codec. The surplus is chosen at random by `seed`.
    """
    kept: list[Entry] = []
    for split in SPLITS:
        inside = [entry for entry in entries if splits[entry.path] == split]
        by_label = {label: [e for e in inside if e.label == label] for label in ("real", "fake")}
        if not all(by_label.values()):  # real faces alone: the forged ones are made in training
            kept.extend(inside)
            continue
        size = min(len(found) for found in by_label.values())
        for label, found in by_label.items():
            kept.extend(_sample_evenly(found, size, f"{seed} {split} {label}"))
    return kept


def _sample_evenly(entries: list[Entry], size: int, seed: str) -> list[Entry]:
    """Sample `size` entries round-robin over their sources."""
    by_source: dict[str, list[Entry]] = defaultdict(list)
    for entry in sorted(entries, key=lambda entry: entry.path):
        by_source[entry.source].append(entry)
    for source, found in by_source.items():
        random.Random(f"{seed} {source}").shuffle(found)
    chosen: list[Entry] = []
    while len(chosen) < size:
        for source in sorted(by_source):
            if by_source[source] and len(chosen) < size:
                chosen.append(by_source[source].pop())
    return chosen
