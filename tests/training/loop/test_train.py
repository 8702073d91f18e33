"""`deepfake-triton train`: tiny runs from end to end, killed and resumed."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import Portrait
from safetensors import safe_open
from support import backdrop, pasted, write_clip

from deepfake_triton import cli
from deepfake_triton.dataset_manifest import ManifestRow, write_manifest
from deepfake_triton.export.options import CheckpointWeights, ExportOptions
from deepfake_triton.export.pipeline import export
from deepfake_triton.models.checkpoints.checkpoint import checkpoint_from_file

COMMAND = str(Path(sys.executable).with_name("deepfake-triton"))
TINY = [
    *("--crop-side", "32", "--frames", "4", "--pairs", "2", "--val-pairs", "2", "--hidden-size", "8"),
    *("--sequence-steps", "4", "--clips", "1", "--val-clips", "1", "--report-every", "1"),
]


@pytest.fixture(scope="module")
def people(portrait: Portrait, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of the same head, listed as five people: three to train on, two held out."""
    folder = tmp_path_factory.mktemp("people")
    rows = []
    for index in range(5):
        photo = pasted(backdrop(360, 400), portrait.patch, 60 + 30 * index, 80)
        cv2.imwrite(str(folder / f"{index}.jpg"), photo[..., ::-1])
        split = "train" if index < 3 else "val"
        rows.append(ManifestRow(f"{index}.jpg", "real", f"p{index}", "s", "", "", split))  # type: ignore[arg-type]
    write_manifest(folder / "m.csv", rows)
    return folder / "m.csv"


def curve(run: Path) -> list[dict[str, str]]:
    with (run / "curve.csv").open() as file:
        return list(csv.DictReader(file))


def is_running(pid: str) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.triton
def test_a_killed_run_resumes_to_the_same_curve_and_weights(people: Path, tmp_path: Path) -> None:
    options = [*TINY, "--steps", "8", "--save-every", "3", "--workers", "1"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert cli.main(["train", str(people), "--output", str(whole), *options]) == 0
    arguments = [COMMAND, "train", str(people), "--output", str(killed), *options]
    with subprocess.Popen(arguments, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while len(curve(killed) if (killed / "curve.csv").is_file() else []) < 4:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.01)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.send_signal(signal.SIGKILL)
    assert children
    while any(is_running(child) for child in children):
        assert time.monotonic() < deadline, "the data-loading processes outlive the training"
        time.sleep(0.05)
    assert not (killed / "checkpoint.safetensors").exists()
    assert subprocess.run(arguments, check=False, capture_output=True).returncode == 0
    assert curve(killed) == curve(whole)
    assert [row["phase"] for row in curve(whole)] == ["backbone"] * 8 + ["sequence"]
    with (
        safe_open(killed / "checkpoint.safetensors", "np") as a,
        safe_open(whole / "checkpoint.safetensors", "np") as b,
    ):
        assert all((a.get_tensor(key) == b.get_tensor(key)).all() for key in a.keys())  # noqa: SIM118
    (whole / "state.pt").unlink()
    (killed / "state.pt").unlink()


@pytest.fixture(scope="module")
def trained(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "run"
    options = [*TINY, "--steps", "2", "--workers", "0", "--teacher", "efficientnet-lite0"]
    assert cli.main(["train", str(people), "--output", str(run), *options, "--teacher-steps", "2"]) == 0
    (run / "state.pt").unlink()
    return run


@pytest.mark.compute
def test_the_checkpoint_carries_its_metadata_and_exports(trained: Path, tmp_path: Path) -> None:
    path = trained / "checkpoint.safetensors"
    with safe_open(path, "np") as file:
        stored = file.metadata()
        assert all(file.get_tensor(key).dtype == np.float16 for key in file.keys())  # noqa: SIM118
    metadata = checkpoint_from_file(path).metadata
    assert (metadata.temporal, metadata.pooling, metadata.label_order) == ("sequence", "mean", "real-fake")
    assert (metadata.crop_side, metadata.crop_margin, metadata.channel_order) == (32, 0.05, "rgb")
    assert set(metadata.operating_points) == set(metadata.real_at_most) == {"balanced", "conservative"}
    assert stored["architecture"] == "resnext50_32x4d+lstm" and len(stored["manifest_sha256"]) == 64
    assert stored["training_command"].startswith("deepfake-triton ")
    assert "Apache-2.0" in json.loads(stored["training_settings"])["teacher"]["name"]
    report = export(ExportOptions(tmp_path / "repository", CheckpointWeights(path)))
    assert report.checkpoint.metadata["calibration_scale"] == pytest.approx(metadata.calibration_scale)
    assert {row["phase"] for row in curve(trained)} == {"teacher", "backbone", "sequence"}
    assert "<svg" in (trained / "curve.svg").read_text()


@pytest.mark.compute
def test_a_checkpoint_is_trained_further(
    people: Path, trained: Path, *, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = trained / "checkpoint.safetensors"
    options = ["train", str(people), *TINY, "--workers", "0", "--from", str(first)]
    run = tmp_path / "run"
    assert cli.main([*options, "--output", str(run), "--steps", "1", "--learning-rate", "0"]) == 0
    (run / "state.pt").unlink()
    with safe_open(first, "np") as a, safe_open(run / "checkpoint.safetensors", "np") as b:
        weights = [key for key in a.keys() if key.startswith("backbone") and key.endswith("weight")]  # noqa: SIM118
        assert len(weights) > 100
        assert all((a.get_tensor(key) == b.get_tensor(key)).all() for key in weights)
        settings = json.loads(b.metadata()["training_settings"])
    assert settings["start"]["file"] == first.name and len(settings["start"]["sha256"]) == 64
    assert settings["backbone"]["strength_start"] == 1.0
    other = ["--output", str(tmp_path / "other"), "--steps", "1"]
    assert cli.main([*options, *other, "--teacher", "efficientnet-lite0"]) == 1
    assert "name one of the two" in capsys.readouterr().err
    assert cli.main([*options, *other, "--crop-margin", "0.3"]) == 1
    assert "crop_margin: got 0.05, expected 0.3 as in this run" in capsys.readouterr().err
    assert cli.main([*options, *other, "--crop-side", "48"]) == 0
    (tmp_path / "other" / "state.pt").unlink()
    assert checkpoint_from_file(tmp_path / "other" / "checkpoint.safetensors").metadata.crop_side == 48


@pytest.mark.compute
def test_a_folder_holds_one_run(people: Path, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", str(people), "--output", str(trained), *TINY, "--seed", "5"]) == 1
    assert "run of other settings: seed: got 0, expected 5" in capsys.readouterr().err


@pytest.mark.compute
def test_labeled_videos_train_too(
    portrait: Portrait, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = []
    for index in range(8):
        scene = pasted(backdrop(240, 320), portrait.patch, 40 + 10 * index, 30)
        if index % 2:
            scene = np.ascontiguousarray(scene[:, ::-1])
        # Clips shorter than those that the sequence head is trained on, one of them a single frame.
        write_clip(
            tmp_path / f"{index}.mp4", [np.roll(scene, shift, axis=1) for shift in range(1 + index % 3)]
        )
        label, split = ("fake" if index % 2 else "real"), ("train" if index < 4 else "val")
        rows.append(ManifestRow(f"{index}.mp4", label, f"p{index}", "s", "", "", split))  # type: ignore[arg-type]
    write_manifest(tmp_path / "m.csv", rows)
    store, run = tmp_path / "store", tmp_path / "run"
    cut = ["dataset", "crops", str(tmp_path / "m.csv"), "--output", str(store), "--frames", "4"]
    assert cli.main([*cut, "--crop-side", "32", "--crop-margin", "0.1"]) == 0
    options = [*TINY, "--steps", "2", "--workers", "0", "--crops", str(store)]
    assert cli.main(["train", str(tmp_path / "m.csv"), "--output", str(run), *options]) == 0
    checkpoint = checkpoint_from_file(run / "checkpoint.safetensors")
    assert checkpoint.layout == "deepfake-triton"
    assert (checkpoint.metadata.crop_side, checkpoint.metadata.crop_margin) == (32, 0.1)  # the store's
    other = ["train", str(tmp_path / "m.csv"), "--output", str(tmp_path / "other"), *options]
    assert cli.main([*other, "--crop-margin", "0.3"]) == 1
    assert "cut the crops anew" in capsys.readouterr().err
    (run / "state.pt").unlink()


@pytest.mark.compute
def test_a_store_of_another_kind_and_missing_faces_are_refused(
    people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "store").mkdir()
    arguments = ["train", str(people), "--output", str(tmp_path / "run"), *TINY]
    assert cli.main([*arguments, "--crops", str(tmp_path / "store")]) == 1
    assert "run `dataset crops` first" in capsys.readouterr().err
    cv2.imwrite(str(tmp_path / "empty.jpg"), backdrop(200, 200))
    write_manifest(tmp_path / "m.csv", [ManifestRow("empty.jpg", "real", "p", "s", "", "", "train")])
    assert cli.main(["train", str(tmp_path / "m.csv"), "--output", str(tmp_path / "run2"), *TINY]) == 1
    assert "no usable real face in the split train: no face" in capsys.readouterr().err
