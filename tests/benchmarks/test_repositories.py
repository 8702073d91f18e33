from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from deepfake_triton.benchmarks.clips import bench_clip
from deepfake_triton.benchmarks.contenders import contenders
from deepfake_triton.benchmarks.repositories import checkpoint_of, exported
from deepfake_triton.contracts import DETECTIONS, FRAMES
from deepfake_triton.errors import InputError
from deepfake_triton.export.runners import Runner
from deepfake_triton.preprocessing.video import decode_clip


def test_the_form_and_the_weights_of_a_repository(
    default_repository: Path, published_repository: Path, published_checkpoint: Path
) -> None:
    default, published = exported(default_repository), exported(published_repository)
    assert default.form == "FP32, OpenVINO" and published.form == "FP32, ONNX Runtime"
    assert default.same_weights(exported(default_repository)) and not default.same_weights(published)
    assert checkpoint_of(default, None).sha256 == default.checkpoint_sha256
    assert checkpoint_of(published, published_checkpoint).facts.crop_side == 112
    with pytest.raises(InputError, match="name its checkpoint with --checkpoint"):
        checkpoint_of(published, None)


def test_repositories_of_other_weights_are_not_compared(
    default_repository: Path, published_repository: Path
) -> None:
    with (
        pytest.raises(InputError, match="holds other weights"),
        contenders(default_repository, [published_repository], [], None, False),
    ):
        pass


def test_a_repository_without_a_report_says_so(published_repository: Path, tmp_path: Path) -> None:
    shutil.copytree(published_repository, tmp_path / "repository")
    for report in (tmp_path / "repository").rglob("export_report.json"):
        report.unlink()
    with pytest.raises(InputError, match="export the repository again"):
        exported(tmp_path / "repository")


def test_the_benchmarks_own_clip_is_720p_and_shows_one_face(detector: Runner) -> None:
    with bench_clip(None) as path:
        clip = decode_clip(path)
        assert clip.frames.data.shape == (20, 360, 640, 3), "720p, scaled as every frame is"
        found = detector.infer({FRAMES.name: clip.frames.data})[DETECTIONS.name]
    assert not path.exists()
    assert (found[:, 0, 4] > 0.7).all() and (found[:, 1, 4] < 0.5).all()
    widths = found[:, 0, 2] - found[:, 0, 0]
    assert np.all(np.abs(widths - np.median(widths)) < 12)
