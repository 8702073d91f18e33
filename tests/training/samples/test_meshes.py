"""Moving heads needs face meshes in the file of portraits."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from drawn_head import draw_head

from deepfake_triton.errors import DatasetError
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.training.augmentation.pair_options import Augmentation, PairOptions
from deepfake_triton.training.faces.portrait_file import PictureQuality, write_portrait_file
from deepfake_triton.training.faces.portraits import Portrait
from deepfake_triton.training.samples.opening import SampleSettings, open_split, read_data_file
from deepfake_triton.training.samples.sources import TrainingData

pytestmark = pytest.mark.fast


def portraits(*with_mesh: bool) -> list[Portrait]:
    head = draw_head()
    return [
        Portrait(
            head.pixels, head.box, head.landmarks, f"{i}.jpg", f"person {i}", head.mesh if has_mesh else None
        )
        for i, has_mesh in enumerate(with_mesh)
    ]


def opened(file: Path, members: list[Portrait], *augmentations: Augmentation) -> TrainingData:
    write_portrait_file(file, {"train": members}, manifest_sha256="0" * 64, quality=PictureQuality())
    options = PairOptions(frozenset(augmentations))
    settings = SampleSettings(None, CropRule(64), num_frames=2, seed=0, pairs=options)
    data = read_data_file(file)
    return open_split(data, "train", settings, on_photo=_unused, is_stopped=lambda: False)


def _unused(split: str, *, done: int, total: int) -> None:
    raise AssertionError(f"{split}: {done} of {total} photos were searched for faces")


@pytest.mark.parametrize("augmentation", ["head-pose", "expressions"])
def test_heads_without_any_mesh_are_refused(augmentation: Augmentation, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=f"{augmentation}: no portrait of the split train has a face mesh"):
        opened(tmp_path / "p.faces", portraits(False, False), augmentation)
    opened(tmp_path / "p.faces", portraits(False, False), "edits")


def test_those_without_a_mesh_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        opened(tmp_path / "p.faces", portraits(True, True), "head-pose")
        opened(tmp_path / "p.faces", portraits(True, False, False), "edits")
        assert not caplog.messages
        opened(tmp_path / "p.faces", portraits(True, False, False), "head-pose")
    assert len(caplog.messages) == 1
    assert "head-pose: 2 of 3 portraits of the split train have no face mesh" in caplog.messages[0]
