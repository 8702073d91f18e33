from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfake_triton.training.datasets.layouts import Entry
from deepfake_triton.training.datasets.splits import assign_splits


def entry(name: str, *people: str, split: str | None = None, source: str = "s") -> Entry:
    return Entry(Path(name), "real", frozenset(people), source, official_split=split)  # type: ignore[arg-type]


entries_strategy = st.lists(
    st.tuples(
        st.sets(st.sampled_from("abcdefghij"), min_size=1, max_size=2),
        st.sampled_from([None, None, "train", "val", "test", "transfer"]),
    ),
    max_size=25,
).map(
    lambda rows: [
        entry(f"{index:02d}.mp4", *people, split=split) for index, (people, split) in enumerate(rows)
    ]
)


@pytest.mark.compute
@settings(max_examples=300, deadline=None)
@given(entries_strategy, st.integers(0, 3))
def test_nobody_is_in_two_splits_and_nothing_is_lost(entries: list[Entry], seed: int) -> None:
    chosen, dropped = assign_splits(entries, seed)
    assert sorted([*chosen, *dropped]) == sorted(entry.path for entry in entries)
    seen: dict[str, set[str]] = {}
    for item in entries:
        if item.path in chosen:
            for person in item.identities:
                seen.setdefault(person, set()).add(chosen[item.path])
            assert item.official_split in (None, chosen[item.path])
    assert all(len(splits) == 1 for splits in seen.values())
    assert assign_splits(entries, seed) == (chosen, dropped)


@pytest.mark.fast
def test_official_lists_decide_and_the_strictest_wins() -> None:
    entries = [
        entry("1", "a", split="test"),
        entry("2", "a", split="train"),
        entry("3", "a", "b"),
        entry("4", "b"),
        entry("5", "c", split="val"),
    ]
    chosen, dropped = assign_splits(entries, 0)
    assert {str(path): split for path, split in chosen.items()} == {
        "1": "test",
        "3": "test",
        "4": "test",
        "5": "val",
    }
    assert dropped == [Path("2")]


@pytest.mark.fast
def test_nobody_is_put_into_transfer_but_by_a_list() -> None:
    listed = [entry(f"t{i}", f"t{i}", split="transfer", source="t") for i in range(20)]
    others = [entry(f"x{i}", f"x{i}") for i in range(100)]
    chosen, dropped = assign_splits([*listed, *others], 3)
    assert not dropped
    assert {path for path, split in chosen.items() if split == "transfer"} == {item.path for item in listed}


@pytest.mark.fast
def test_shares_hold_for_each_source() -> None:
    entries = [entry(f"{s}{i}", f"{s}{i}", source=f"{s}/c23") for s in "xy" for i in range(100)]
    chosen, dropped = assign_splits(entries, 1)
    assert not dropped
    for source in "xy":
        counts = Counter(split for path, split in chosen.items() if str(path).startswith(source))
        assert counts == {"train": 80, "val": 10, "test": 10}
    assert chosen != assign_splits(entries, 2)[0]
