"""`deepfake-triton dataset crops`: the served preprocessing over a manifest."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import Portrait
from support import backdrop, overlap, pasted, write_clip

from deepfake_triton import cli
from deepfake_triton.dataset_manifest import ManifestRow, read_manifest, write_manifest
from deepfake_triton.errors import DatasetError
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.preprocessing.faces import faces_from_detections
from deepfake_triton.preprocessing.video.clip import decode_clip
from deepfake_triton.training.faces.crops import crops_path, read_crops

COMMAND = str(Path(sys.executable).with_name("deepfake-triton"))


@pytest.fixture
def manifest(portrait: Portrait, two_people: Path, tmp_path: Path) -> Path:
    scene = pasted(backdrop(360, 480), portrait.patch, 100, 60)
    cv2.imwrite(str(tmp_path / "photo.png"), scene[..., ::-1])
    write_clip(tmp_path / "clip.mp4", [np.roll(scene, index, axis=1) for index in range(8)])
    cv2.imwrite(str(tmp_path / "faceless.png"), backdrop(200, 200))
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    names = ["photo.png", "clip.mp4", "faceless.png", "broken.mp4", str(two_people)]
    write_manifest(
        tmp_path / "m.csv", [ManifestRow(name, "real", name, "s", "", "", "train") for name in names]
    )
    return tmp_path / "m.csv"


def crops(manifest: Path, *options: str) -> int:
    return cli.main(["dataset", "crops", str(manifest), "--output", str(manifest.parent / "store"), *options])


@pytest.mark.compute
def test_crops_are_those_that_the_server_would_cut(
    manifest: Path, portrait: Portrait, *, two_people: Path, detector: Runner
) -> None:
    assert crops(manifest) == 0
    store = manifest.parent / "store"
    rows = {row.path: row for row in read_manifest(manifest)}
    photo = read_crops(crops_path(store, rows["photo.png"]))
    assert photo.faces.shape == (1, 1, 112, 112, 3)
    assert overlap(photo.boxes[0, 0], portrait.face_at(100, 60)) > 0.8
    assert read_crops(crops_path(store, rows["clip.mp4"])).faces.shape == (1, 8, 112, 112, 3)
    frames = decode_clip(two_people).frames
    tracked = faces_from_detections(
        frames.data, detector.infer({"frames": frames.data})["detections"], CropRule()
    )
    both = read_crops(crops_path(store, rows[str(two_people)]))
    assert np.array_equal(both.faces, tracked.faces) and np.array_equal(both.boxes, tracked.boxes)
    assert np.array_equal(both.observed, tracked.observed)
    assert np.array_equal(both.pts_seconds, frames.pts_seconds)
    faults = json.loads((store / "faults.json").read_text())
    assert set(faults) == {"faceless.png", "broken.mp4"}
    assert "no face" in faults["faceless.png"] and "not a video" in faults["broken.mp4"]


@pytest.mark.compute
def test_a_second_run_cuts_only_what_is_missing(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crops(manifest) == 0 and "3 files cut, 0 were there, 2 faults" in capsys.readouterr().out
    (row,) = [row for row in read_manifest(manifest) if row.path == "clip.mp4"]
    crops_path(manifest.parent / "store", row).unlink()
    assert crops(manifest) == 0 and "1 files cut, 2 were there, 2 faults" in capsys.readouterr().out


@pytest.mark.triton
def test_a_killed_run_leaves_only_whole_files(manifest: Path, two_people: Path) -> None:
    rows = [ManifestRow(f"{index}.mp4", "real", str(index), "s", "", "", "train") for index in range(12)]
    for row in rows:
        os.link(two_people, manifest.parent / row.path)
    write_manifest(manifest, rows)
    store = manifest.parent / "store"
    process = subprocess.Popen([COMMAND, "dataset", "crops", str(manifest), "--output", str(store)])
    deadline = time.monotonic() + 60
    while len(list(store.glob("*/[!.]*.npz"))) < 2:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = list(store.glob("*/[!.]*.npz"))
    assert 2 <= len(finished) < 12
    before = {path: read_crops(path).faces.shape for path in finished}
    assert crops(manifest) == 0
    assert all(read_crops(crops_path(store, row)).faces.shape == (2, 20, 112, 112, 3) for row in rows)
    assert all(shape == (2, 20, 112, 112, 3) for shape in before.values())


@pytest.mark.compute
def test_a_store_holds_crops_of_one_kind(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crops(manifest) == 0
    capsys.readouterr()
    for options in (["--crop-margin", "0.2"], ["--frames", "5"], ["--detector-size", "640"]):
        assert crops(manifest, *options) == 1
        assert "another kind" in capsys.readouterr().err


@pytest.mark.fast
def test_damaged_crops_are_named(tmp_path: Path) -> None:
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 cut")
    for name in ("cut.npz", "missing.npz"):
        with pytest.raises(DatasetError, match=name):
            read_crops(tmp_path / name)
