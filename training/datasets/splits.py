"""Splits by identity: nobody appears in two of them, and official lists are kept where they exist."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from deepfake_triton.dataset_manifest import Split
from deepfake_triton.training.datasets.layouts import Entry

SPLIT_FRACTIONS: Mapping[Split, float] = {"train": 0.8, "val": 0.1, "test": 0.1}
"""Fractions of the people whom no official list names; only such a list puts anyone into `transfer`."""
# An identity that official lists put in several splits belongs to the one that must stay unseen.
_STRICTEST_FIRST: tuple[Split, ...] = ("test", "transfer", "val", "train")


def assign_splits(entries: Sequence[Entry], seed: int) -> tuple[dict[Path, Split], list[Path]]:
    """Assign a split to each file, keeping every person in one split.

    Returns the splits by path, and the files left out because their people are in several splits. People that
    appear together in a file stay together. Official lists of a dataset take precedence; other files are
    distributed by `SPLIT_FRACTIONS` within each source, in an order that only `seed` changes.
    """
    split_of = _official_splits(entries)
    chosen: dict[Path, Split] = {}
    dropped: set[Path] = set()
    waiting = list(entries)
    # A file gives its split to all its people, who bring it to their other files, until nothing changes.
    while True:
        undecided: list[Entry] = []
        for entry in waiting:
            splits = {split_of[person] for person in entry.identities if person in split_of}
            if len(splits) > 1 or (splits and entry.official_split not in (None, *splits)):
                dropped.add(entry.path)
            elif splits:
                chosen[entry.path] = splits.pop()
                split_of |= dict.fromkeys(entry.identities, chosen[entry.path])
            else:
                undecided.append(entry)
        if len(undecided) == len(waiting):
            break
        waiting = undecided
    for group, split in _distribute(_connected_groups(waiting), seed):
        chosen.update((entry.path, split) for entry in group)
    return chosen, sorted(dropped)


def _official_splits(entries: Iterable[Entry]) -> dict[str, Split]:
    """Return the split of each person that official lists name."""
    found: dict[str, set[Split]] = defaultdict(set)
    for entry in entries:
        if entry.official_split:
            for person in entry.identities:
                found[person].add(entry.official_split)
    return {person: min(splits, key=_STRICTEST_FIRST.index) for person, splits in found.items()}


def _connected_groups(entries: Iterable[Entry]) -> list[list[Entry]]:
    """Group entries that share people, directly or through others (union-find)."""
    parent: dict[str, str] = {}

    def root(person: str) -> str:
        parent.setdefault(person, person)
        while parent[person] != person:
            parent[person] = parent[parent[person]]
            person = parent[person]
        return person

    entries = list(entries)
    for entry in entries:
        first, *others = sorted(entry.identities)
        for other in others:
            parent[root(other)] = root(first)
    groups: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[root(min(entry.identities))].append(entry)
    return list(groups.values())


def _distribute(groups: list[list[Entry]], seed: int) -> Iterable[tuple[list[Entry], Split]]:
    """Assign each group to the split with the fewest files of its source, relative to its fraction."""
    counts: dict[tuple[str, Split], int] = defaultdict(int)

    def order(group: list[Entry]) -> str:
        people = min(person for entry in group for person in entry.identities)
        return hashlib.sha256(f"{seed} {people}".encode()).hexdigest()

    for group in sorted(groups, key=lambda group: (-len(group), order(group))):
        source = group[0].source.split("/")[0]
        split = min(
            SPLIT_FRACTIONS,
            key=lambda split: (counts[source, split] + len(group)) / SPLIT_FRACTIONS[split],
        )
        counts[source, split] += len(group)
        yield group, split
