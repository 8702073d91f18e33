"""What `train` refuses before it writes anything, and what a run may go on with."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from deepfake_triton.errors import DatasetError
from deepfake_triton.training.augmentation.pair_options import PairOptions
from deepfake_triton.training.commands.train import _train_options, configure
from deepfake_triton.training.forgery.kinds import KINDS
from deepfake_triton.training.loop.run_dir import RunDir
from deepfake_triton.training.loop.settings import FrameSettings, TrainOptions
from deepfake_triton.training.loop.train import _run_settings, train
from deepfake_triton.training.samples.opening import DataFile
from deepfake_triton.training.samples.tensor_batches import require_cpu_pairs

pytestmark = pytest.mark.fast

EDITS = PairOptions(frozenset({"edits"}))


def options_of(arguments: Sequence[str]) -> TrainOptions:
    parser = argparse.ArgumentParser()
    configure(parser)
    return _train_options(parser.parse_args(["people.csv", "--output", "run", *arguments]))


def test_a_device_that_is_not_there_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (tmp_path / "m.csv").write_text("path,label,identity,source,method,compression,split\n")
    with pytest.raises(DatasetError, match="torch sees no GPU here"):
        train(TrainOptions(tmp_path / "m.csv", tmp_path / "run", device="cuda"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("pairs", "workers"), [(63, 8), (64, 1), (16, 1)])
@pytest.mark.parametrize("options", [EDITS, PairOptions(kinds=("swap", "blotches"))])
def test_what_only_workers_make_takes_workers_and_room_in_a_batch(
    options: PairOptions, pairs: int, workers: int
) -> None:
    with pytest.raises(DatasetError, match=f"--pairs {pairs} --workers {workers}, expected at least"):
        require_cpu_pairs(options, pairs=pairs, workers=workers)
    require_cpu_pairs(options, pairs=64, workers=2)
    require_cpu_pairs(
        PairOptions(frozenset({"motion-blur", "heavy-compression"})), pairs=pairs, workers=workers
    )


def test_forgeries_that_a_device_cannot_make_are_refused_alone() -> None:
    with pytest.raises(DatasetError, match="got no forgery but regenerate, blotches, expected one of"):
        require_cpu_pairs(PairOptions(kinds=("regenerate", "blotches")), pairs=256, workers=8)
    require_cpu_pairs(PairOptions(kinds=KINDS), pairs=256, workers=8)


def test_a_run_checks_what_its_device_makes(tmp_path: Path) -> None:
    few = FrameSettings(pairs=16)
    options = TrainOptions(
        tmp_path / "m.csv", tmp_path / "run", backbone=few, pairs=EDITS, generator="device", workers=4
    )
    with pytest.raises(DatasetError, match="and edits by workers beside it: got --pairs 16 --workers 4"):
        train(options)
    assert not (tmp_path / "run").exists()


def test_a_run_goes_on_on_another_device_with_its_generator(tmp_path: Path) -> None:
    data = DataFile(tmp_path / "m.csv", manifest_sha256="0" * 64)
    on_cpu, on_gpu = (
        _run_settings(TrainOptions(data.path, tmp_path / "run", device=device), data, None)
        for device in ("cpu", "cuda")
    )
    assert "generator" not in on_cpu and on_gpu["generator"] == "device"
    for first, second in ((on_cpu, on_gpu), (on_gpu, on_cpu)):
        folder = tmp_path / first["device"]
        RunDir(folder, first)
        RunDir(folder, second)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["--augmentations", "edits"], "--augmentations"),
        (["--forgeries", "all", "--temporal"], "--forgeries, --temporal"),
        (["--generator", "device"], "--generator"),
    ],
)
def test_options_of_forged_pairs_do_not_go_with_a_crop_store(given: list[str], named: str) -> None:
    with pytest.raises(DatasetError, match=f"--crops: got {named} too, but nothing is forged"):
        options_of(["--crops", "crops", *given])
    assert options_of(given).store is None
