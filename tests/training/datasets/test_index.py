"""`deepfake-triton dataset index` on small collections of real files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from support import quarters, write_clip

from deepfake_triton import cli
from deepfake_triton.dataset_manifest import read_manifest
from deepfake_triton.errors import DatasetError
from deepfake_triton.training.datasets.index import IndexReport

pytestmark = pytest.mark.fast


def photo(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 255, (40, 40, 3), np.uint8))


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    root = tmp_path / "mine"
    for index in range(30):
        photo(root / "real" / f"p{index}" / "a.png", index)
        for version in ("a", "b"):
            photo(root / "fake" / f"p{index}" / f"{version}.png", 1000 + index * 2 + (version == "b"))
    write_clip(root / "real" / "p0" / "clip.mp4", [quarters()] * 3)
    return root


def index(*arguments: object) -> int:
    return cli.main(["dataset", "index", *map(str, arguments)])


def test_a_balanced_manifest_with_nobody_in_two_splits(collection: Path, tmp_path: Path) -> None:
    output = tmp_path / "manifest.csv"
    assert index(collection, "--output", output) == 0
    rows = read_manifest(output)
    report = json.loads((tmp_path / "manifest.report.json").read_text())
    assert len(rows) == 60 or len(rows) == 62
    for split in ("train", "val", "test"):
        labels = [row.label for row in rows if row.split == split]
        assert labels.count("real") == labels.count("fake") > 0
    splits: dict[str, set[str]] = {}
    for row in rows:
        assert (tmp_path / row.path).is_file() and not Path(row.path).is_absolute()
        splits.setdefault(row.identity, set()).add(row.split)
        if row.label == "fake" and row.path.endswith("a.png"):
            assert row.original == row.path.replace("/fake/", "/real/")
    assert all(len(found) == 1 for found in splits.values())
    assert report["rows"] == len(rows) and len(report["surplus"]) == 91 - len(rows)
    assert report["layouts"] == {str(collection): "real and fake folders"}
    assert list(report) == [
        *("schema_version", "manifest_sha256", "layouts", "rows", "counts", "missing", "double"),
        *("contradicting", "unreadable", "in_two_splits", "surplus"),
    ]
    assert json.loads(json.dumps(IndexReport.from_json(report).to_json())) == report


def test_unusable_files_are_left_out_by_name(collection: Path, tmp_path: Path) -> None:
    real, fake = collection / "real", collection / "fake"
    shutil.copy(real / "p1" / "a.png", real / "p1" / "copy.png")
    shutil.copy(real / "p2" / "a.png", fake / "p2" / "copy.png")
    (real / "p3" / "broken.mp4").write_bytes(b"no video")
    assert index(collection, "--output", tmp_path / "m.csv", "--keep-all") == 0
    report = json.loads((tmp_path / "m.report.json").read_text())
    assert report["double"] == {str(real / "p1" / "copy.png"): str(real / "p1" / "a.png")}
    assert set(report["contradicting"]) == {str(fake / "p2" / "copy.png"), str(real / "p2" / "a.png")}
    assert list(report["unreadable"]) == [str(real / "p3" / "broken.mp4")]
    paths = {row.path for row in read_manifest(tmp_path / "m.csv")}
    assert len(paths) == 91 - 1 and "mine/real/p1/a.png" in paths


def test_listed_files_that_do_not_exist(tmp_path: Path) -> None:
    root = tmp_path / "part"
    photo(root / "real.png", 1)
    photo(root / "fake.png", 2)
    metadata = {
        "real.png": {"label": "REAL", "split": "train"},
        "fake.png": {"label": "FAKE", "split": "train", "original": "real.png"},
        "gone.png": {"label": "FAKE", "split": "train", "original": "real.png"},
    }
    (root / "metadata.json").write_text(json.dumps(metadata))
    assert index(root, "--output", tmp_path / "m.csv") == 0
    assert json.loads((tmp_path / "m.report.json").read_text())["missing"] == [str(root / "gone.png")]
    assert {(row.label, row.split, row.original) for row in read_manifest(tmp_path / "m.csv")} == {
        ("real", "train", ""),
        ("fake", "train", "part/real.png"),
    }


def test_the_same_seed_gives_the_same_manifest(collection: Path, tmp_path: Path) -> None:
    digests = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        assert index(collection, "--output", tmp_path / f"{name}.csv", "--seed", seed, "--no-check") == 0
        digests.append(json.loads((tmp_path / f"{name}.report.json").read_text())["manifest_sha256"])
    assert digests[0] == digests[1] != digests[2]


def test_failures_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert index(tmp_path / "missing", "--output", tmp_path / "m.csv") == 1
    (tmp_path / "one" / "real").mkdir(parents=True)
    assert index(tmp_path / "one", "--output", tmp_path / "m.csv") == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and "no such folder" in lines[0] and "no usable" in lines[1]
    assert not (tmp_path / "m.csv").exists()


def test_files_that_are_not_a_manifest(tmp_path: Path) -> None:
    columns = "path,label,identity,source,manipulation,original,split\n"
    for text, says in (
        ("a,b\n1,2\n", "columns path"),
        (columns + "a.mp4,maybe,x,s,,,train\n", "line 2: label: got 'maybe'"),
        (columns + "a.mp4,real,x,s,,,later\n", "line 2: split"),
        (columns + ",real,x,s,,,train\n", "path is empty"),
    ):
        (tmp_path / "m.csv").write_text(text)
        with pytest.raises(DatasetError, match=says):
            read_manifest(tmp_path / "m.csv")
    with pytest.raises(DatasetError, match="cannot be read"):
        read_manifest(tmp_path / "none.csv")
