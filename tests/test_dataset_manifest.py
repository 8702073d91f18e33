from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import pytest

from deepfake_triton.dataset_manifest import (
    SPLIT_CHOICES,
    ManifestRow,
    read_manifest,
    rows_of_splits,
    split_with_half,
    transfer_half,
    write_manifest,
)
from deepfake_triton.training.commands.split_option import add_split_option

pytestmark = pytest.mark.fast


def test_a_manifest_that_a_spreadsheet_saved_is_read(tmp_path: Path) -> None:
    rows = [ManifestRow("ü.mp4", "real", "a", "set", "", "", "test")]
    path = tmp_path / "manifest.csv"
    write_manifest(path, rows)
    assert read_manifest(path) == rows
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_manifest(path) == rows


def test_a_condition_is_kept_and_costs_no_column_without_one(tmp_path: Path) -> None:
    plain = ManifestRow("a.mp4", "real", "a", "set", "", "", "transfer")
    path = tmp_path / "manifest.csv"
    write_manifest(path, [plain])
    assert path.read_text().splitlines()[0] == "path,label,identity,source,manipulation,original,split"
    rows = [plain, ManifestRow("b.mp4", "real", "a", "set", "", "", "transfer", "roll=15")]
    write_manifest(path, rows)
    assert path.read_text().splitlines()[0].endswith(",split,condition")
    assert read_manifest(path) == rows


def test_a_person_s_half_of_transfer_is_the_parity_of_the_hash_of_the_name() -> None:
    names = [f"id{number:04d}" for number in range(1000)]
    for name in names[:20]:
        odd = hashlib.sha256(name.encode()).hexdigest()[-1] in "13579bdf"
        assert transfer_half(name) == transfer_half(f"faces:{name}") == f"transfer-{'odd' if odd else 'even'}"
    assert transfer_half("id0000") == "transfer-odd" and transfer_half("id0002") == "transfer-even"
    halves = [transfer_half(name) for name in names]
    assert 450 < halves.count("transfer-even") < 550 and None not in halves
    together = {transfer_half(f"{name}+id0000") for name in names[:20]}
    assert together == {None, "transfer-odd"}  # people of both halves are in neither


def test_halves_are_disjoint_and_make_up_transfer() -> None:
    rows = [
        ManifestRow(f"{split}{i}.mp4", "real", f"faces:id{i:04d}", "s", "", "", split)
        for split in ("train", "val", "test", "transfer")
        for i in range(40)
    ]
    even, odd = (rows_of_splits(rows, [half]) for half in ("transfer-even", "transfer-odd"))
    assert even and odd and not {row.identity for row in even} & {row.identity for row in odd}
    assert sorted([*even, *odd], key=lambda row: row.path) == sorted(
        rows_of_splits(rows, ["transfer"]), key=lambda row: row.path
    )
    assert {split_with_half(row) for row in rows} == set(SPLIT_CHOICES) - {"transfer"}
    assert rows_of_splits(rows, ["val", "transfer-even"]) == [*rows_of_splits(rows, ["val"]), *even]
    assert rows_of_splits(rows, ["all"]) == rows


def test_all_splits_are_one_choice_that_keeps_its_name() -> None:
    parser = argparse.ArgumentParser()
    add_split_option(parser, with_all=True)
    assert parser.parse_args(["--split", "all"]).split == ("all",)
    assert parser.parse_args(["--split", "val,transfer-even"]).split == ("val", "transfer-even")
