"""`deepfake-triton train --minutes`: ends in a checkpoint, by the clock or when it is told to."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest
import torch
from conftest import Portrait
from support import backdrop, pasted

from deepfake_triton import cli
from deepfake_triton.dataset_manifest import ManifestRow, write_manifest
from deepfake_triton.models.checkpoints.checkpoint import checkpoint_from_file
from deepfake_triton.models.metadata import ModelMetadata
from deepfake_triton.models.resnext import ResNeXt50
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.training.loop import frame_phase
from deepfake_triton.training.loop.parts import save_average
from deepfake_triton.training.loop.settings import FrameSettings, SequenceSettings, TrainOptions
from deepfake_triton.training.loop.train import train

COMMAND = str(Path(sys.executable).with_name("deepfake-triton"))
TINY = [
    *("--crop-side", "32", "--frames", "4", "--pairs", "2", "--val-pairs", "2", "--hidden-size", "8"),
    *("--clips", "40", "--val-clips", "40", "--report-every", "1", "--workers", "0"),
]


@pytest.fixture(scope="module")
def people(portrait: Portrait, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    rows = []
    for index in range(4):
        photo = pasted(backdrop(360, 400), portrait.patch, 60 + 30 * index, 80)
        cv2.imwrite(str(folder / f"{index}.jpg"), photo[..., ::-1])
        split = "train" if index < 2 else "val"
        rows.append(ManifestRow(f"{index}.jpg", "real", f"p{index}", "s", "", "", split))  # type: ignore[arg-type]
    write_manifest(folder / "m.csv", rows)
    return folder / "m.csv"


@pytest.mark.compute
def test_a_run_by_the_clock_ends_in_a_checkpoint_and_its_parts(
    people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    arguments = ["train", str(people), "--output", str(run), *TINY, "--minutes", "0.05", "--parts", "15"]
    begin = time.monotonic()
    assert cli.main(arguments) == 0
    assert time.monotonic() - begin < 60  # three seconds, plus what is always done
    parts = sorted(run.glob("*.part-*"))
    assert [part.name for part in parts] == [f"checkpoint.safetensors.part-{i:03d}" for i in range(3)]
    assert all(part.stat().st_size <= 15 * 2**20 for part in parts)
    joined = tmp_path / "joined.safetensors"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert joined.read_bytes() == (run / "checkpoint.safetensors").read_bytes()
    assert checkpoint_from_file(joined).metadata.crop_side == 32
    assert json.loads((run / "settings.json").read_text())["minutes"] == 0.05
    capsys.readouterr()
    assert cli.main([*arguments, "--minutes", "1"]) == 1
    assert "minutes: got 0.05, expected 1.0" in capsys.readouterr().err


@pytest.mark.compute
def test_the_average_of_a_run_that_is_not_over_is_a_start_for_another(tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone, metadata = ResNeXt50(), ModelMetadata(crop_side=48)
    for name in ("another.part-000", "average.safetensors.part-009"):
        (tmp_path / name).write_bytes(b"")
    save_average(tmp_path, backbone, metadata, part_bytes=14 * 2**20)
    parts = sorted(tmp_path.glob("average.safetensors.part-*"))
    assert len(parts) == 4 and all(part.stat().st_size <= 14 * 2**20 for part in parts)
    (tmp_path / "joined.safetensors").write_bytes(b"".join(part.read_bytes() for part in parts))
    checkpoint = checkpoint_from_file(tmp_path / "joined.safetensors")
    assert checkpoint.metadata == metadata
    assert torch.equal(checkpoint.extractor.backbone.conv1.weight, backbone.conv1.weight.half().float())
    assert not any(value.any() for value in checkpoint.classifier.parameters())


@pytest.mark.compute
def test_a_killed_run_by_the_clock_goes_on_from_its_average(
    people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame_phase, "_SAVE_EVERY_S", 0.0)
    few = FrameSettings(pairs=2, val_pairs=2, report_every=1, warmup=10)
    clips = SequenceSettings(hidden_size=8, train_rounds=1, val_rounds=1)
    options = TrainOptions(
        people,
        tmp_path / "run",
        crop_rule=CropRule(32, 0.05),
        num_frames=2,
        backbone=few,
        sequence=clips,
        workers=0,
        minutes=60.0,
        generator="device",
    )

    def killed(phase: str, *, done: int, total: int, figures: str) -> None:
        if phase == "backbone" and done == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(options, killed)
    state = torch.load(options.output / "state.pt", weights_only=True)
    assert state["backbone"]["step"] == 2 and "model" not in state["backbone"]
    assert state["backbone"]["average"]["module.head.weight"].dtype == torch.float16
    seen: list[int] = []

    def stopped(phase: str, *, done: int, total: int, figures: str) -> None:
        if phase != "backbone":
            return
        seen.append(done)
        if seen == [3]:  # a second one would end this process
            os.kill(os.getpid(), signal.SIGTERM)

    result = train(options, stopped)
    assert seen[0] == 3 and seen[-1] <= 4 and result.checkpoint.is_file()
    with (options.output / "curve.csv").open() as file:
        rates = [float(row["learning_rate"]) for row in csv.DictReader(file) if row["phase"] == "backbone"]
    # The third step of the warm-up, and the first one of the optimizer that has no moments.
    assert rates[:3] == pytest.approx([few.learning_rate * part for part in (0.1, 0.2, 0.3 * 0.1)], rel=0.01)
    (options.output / "state.pt").unlink()


@pytest.mark.triton
def test_a_run_that_is_told_to_stop_ends_in_a_checkpoint(people: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = [COMMAND, "train", str(people), "--output", str(run), *TINY, "--minutes", "60"]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not (run / "curve.csv").is_file():
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 0
        assert process.stderr is not None and b"SIGTERM: ending in a checkpoint" in process.stderr.read()
    assert checkpoint_from_file(run / "checkpoint.safetensors").layout == "deepfake-triton"
    curve = (run / "curve.csv").read_text()
    assert "backbone,1," in curve and "sequence," in curve
    assert (run / "state.pt").stat().st_size < 60e6  # of a phase that is over: its result alone
    (run / "state.pt").unlink()
