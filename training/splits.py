"""Splits by identity: nobody stands in two of them, and official lists are kept where they exist."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from deepfake_triton.manifest import SPLITS, Split
from deepfake_triton.training.layouts import Entry

SHARES: Mapping[Split, float] = {"train": 0.8, "val": 0.1, "test": 0.1}
# An identity that official lists put in several splits belongs to the one that must stay unseen.
_STRICTEST_FIRST: tuple[Split, ...] = ("test", "val", "train")


def assign_splits(entries: Sequence[Entry], seed: int) -> tuple[dict[Path, Split], list[Path]]:
    """A split for each file, and the files left out because their people stand in different splits.

    People that appear together in a file stay together. Where a collection has official lists, they decide;
    what is left is spread by `SHARES` within each source, in an order that only `seed` changes.
    """
    split_of = _listed_people(entries)
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
    for group, split in _spread(_groups(waiting), seed):
        chosen.update((entry.path, split) for entry in group)
    return chosen, sorted(dropped)


def _listed_people(entries: Iterable[Entry]) -> dict[str, Split]:
    found: dict[str, set[Split]] = defaultdict(set)
    for entry in entries:
        if entry.official_split:
            for person in entry.identities:
                found[person].add(entry.official_split)
    return {person: min(splits, key=_STRICTEST_FIRST.index) for person, splits in found.items()}


def _groups(entries: Iterable[Entry]) -> list[list[Entry]]:
    """Entries that are linked by common people, directly or through others (union-find)."""
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


def _spread(groups: list[list[Entry]], seed: int) -> Iterable[tuple[list[Entry], Split]]:
    """Give each group to the split that its source's share leaves shortest of files."""
    counts: dict[tuple[str, Split], int] = defaultdict(int)

    def order(group: list[Entry]) -> str:
        people = min(person for entry in group for person in entry.identities)
        return hashlib.sha256(f"{seed} {people}".encode()).hexdigest()

    for group in sorted(groups, key=lambda group: (-len(group), order(group))):
        source = group[0].source.split("/")[0]
        split = min(SPLITS, key=lambda split: (counts[source, split] + len(group)) / SHARES[split])
        counts[source, split] += len(group)
        yield group, split
