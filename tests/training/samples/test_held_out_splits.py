"""Whoever is in `test` or `transfer` is in no sample of a training run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from support import backdrop

from deepfake_triton.dataset_manifest import SPLITS
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.training.faces.portrait_file import PictureQuality, write_portrait_file
from deepfake_triton.training.faces.portraits import Portrait
from deepfake_triton.training.samples.opening import SampleSettings, open_split, read_data_file
from deepfake_triton.training.samples.sources import ForgedData

pytestmark = pytest.mark.compute


def portrait(person: str) -> Portrait:
    landmarks = np.array([[60.0, 60], [100, 60], [80, 80], [65, 100], [95, 100]])
    return Portrait(backdrop(160, 160), np.array([40.0, 30, 120, 130]), landmarks, f"{person}.jpg", person)


def test_training_sees_people_of_train_and_val_alone(tmp_path: Path) -> None:
    members = {split: [portrait(f"{split}{i}") for i in range(3)] for split in SPLITS}
    file = tmp_path / "faces.portraits"
    write_portrait_file(file, members, manifest_sha256="0" * 64, quality=PictureQuality("jpeg", 95))
    data = read_data_file(file)
    assert data.portraits is not None and {entry.split for entry in data.portraits.entries} == set(SPLITS)
    settings = SampleSettings(None, CropRule(64), num_frames=2, seed=0)
    splits: tuple[Literal["train", "val"], ...] = ("train", "val")
    for split in splits:
        opened = open_split(data, split, settings, on_photo=_unused, is_stopped=lambda: False)
        assert isinstance(opened, ForgedData)
        assert {found.identity for found in opened.sampler.portraits} == {f"{split}{i}" for i in range(3)}


def _unused(split: str, *, done: int, total: int) -> None:
    raise AssertionError(f"{split}: {done} of {total} photos were searched for faces")
