"""From folders of collections to one manifest, with a report of everything that did not get into it."""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deepfake_triton.errors import DatasetError, InputError
from deepfake_triton.manifest import SPLITS, ManifestRow, Split
from deepfake_triton.preprocessing.sampling import FrameSelection
from deepfake_triton.preprocessing.video import decode_clip
from deepfake_triton.training.layouts import Entry, entries_of
from deepfake_triton.training.splits import assign_splits


@dataclass(frozen=True)
class Index:
    """The rows of a manifest, and what was left out of it, as paths with the reason."""

    rows: tuple[ManifestRow, ...]
    layouts: dict[str, str]
    missing: tuple[str, ...]
    double: dict[str, str]
    contradicting: dict[str, str]
    unreadable: dict[str, str]
    in_two_splits: tuple[str, ...]
    surplus: tuple[str, ...]

    def report(self) -> dict[str, Any]:
        """For a JSON file: the counts of what is in, and every path that is not, with the reason."""
        counts: dict[str, int] = defaultdict(int)
        for row in self.rows:
            counts[f"{row.split} {row.source} {row.label}"] += 1
        left_out = {key: value for key, value in asdict(self).items() if key not in ("rows", "layouts")}
        return {
            "layouts": self.layouts,
            "rows": len(self.rows),
            "counts": dict(sorted(counts.items())),
            **left_out,
        }


def index_folders(
    roots: Sequence[Path],
    relative_to: Path,
    *,
    seed: int = 0,
    balance: bool = True,
    check: bool = True,
    on_file: Callable[[Path], None] | None = None,
) -> Index:
    """Read the layouts of `roots` into manifest rows, whose paths are relative to the folder `relative_to`.

    `check` decodes one frame of each file; `balance` leaves out the surplus of labels and sources within
    each split. Raises DatasetError when a folder has no known layout, or nothing usable is left.
    """
    layouts, entries = {}, []
    for root in roots:
        layouts[str(root)], found = entries_of(root)
        entries.extend(found)
    present = [entry for entry in entries if entry.path.is_file()]
    missing = sorted(str(entry.path) for entry in entries if not entry.path.is_file())
    single, double, contradicting = _without_doubles(present)
    readable, unreadable = _readable(single, on_file) if check else (single, {})
    splits, in_two_splits = assign_splits(readable, seed)
    usable = [entry for entry in readable if entry.path in splits]
    kept = _balanced(usable, splits, seed) if balance else usable
    if not kept:
        raise DatasetError(f"{', '.join(map(str, roots))}: no usable video or photo")
    kept_paths = {entry.path for entry in kept}
    surplus = sorted(str(entry.path) for entry in usable if entry.path not in kept_paths)
    rows = tuple(_row(entry, splits[entry.path], relative_to) for entry in kept)
    return Index(
        rows=rows,
        layouts=layouts,
        missing=tuple(missing),
        double=double,
        contradicting=contradicting,
        unreadable=unreadable,
        in_two_splits=tuple(str(path) for path in in_two_splits),
        surplus=tuple(surplus),
    )


def _row(entry: Entry, split: Split, relative_to: Path) -> ManifestRow:
    return ManifestRow(
        path=_written(entry.path, relative_to),
        label=entry.label,
        identity="+".join(sorted(entry.identities)),
        source=entry.source,
        manipulation=entry.manipulation,
        original=_written(entry.original, relative_to) if entry.original and entry.original.is_file() else "",
        split=split,
    )


def _written(path: Path, relative_to: Path) -> str:
    absolute, folder = Path.cwd() / path, Path.cwd() / relative_to
    return absolute.relative_to(folder).as_posix() if absolute.is_relative_to(folder) else str(absolute)


def _without_doubles(entries: list[Entry]) -> tuple[list[Entry], dict[str, str], dict[str, str]]:
    """Files whose bytes stand once; doubles by the path of the first; and those of two labels, all out."""
    by_size: dict[int, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_size[entry.path.stat().st_size].append(entry)
    by_content: dict[str, list[Entry]] = defaultdict(list)
    for size, same_size in by_size.items():
        for entry in same_size:
            key = f"{size} {_digest(entry.path)}" if len(same_size) > 1 else f"{size}"
            by_content[key].append(entry)
    double: dict[str, str] = {}
    contradicting: dict[str, str] = {}
    for first, *others in by_content.values():
        labels = {entry.label for entry in (first, *others)}
        for entry in others:
            (double if len(labels) == 1 else contradicting)[str(entry.path)] = str(first.path)
        if len(labels) > 1:
            contradicting[str(first.path)] = str(others[0].path)
    out = double.keys() | contradicting.keys()
    return [entry for entry in entries if str(entry.path) not in out], double, contradicting


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _readable(
    entries: list[Entry], on_file: Callable[[Path], None] | None
) -> tuple[list[Entry], dict[str, str]]:
    unreadable: dict[str, str] = {}
    for entry in entries:
        if on_file:
            on_file(entry.path)
        try:
            decode_clip(entry.path, FrameSelection(1))
        except InputError as error:
            unreadable[str(entry.path)] = str(error)
    return [entry for entry in entries if str(entry.path) not in unreadable], unreadable


def _balanced(entries: Iterable[Entry], splits: dict[Path, Split], seed: int) -> list[Entry]:
    """Within each split as many fakes as real ones, both spread evenly over their sources.

    A collection whose fakes outnumber its originals would teach a model the prior, and one large source its
    codec. What is too much is left out at random by `seed`.
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
            kept.extend(_evenly(found, size, f"{seed} {split} {label}"))
    return kept


def _evenly(entries: list[Entry], size: int, seed: str) -> list[Entry]:
    """`size` of the entries, one from each source in turn as long as it has any."""
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
