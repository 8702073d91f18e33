from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from deepfake_triton.benchmarks.baselines.all_baselines import open_baselines
from deepfake_triton.benchmarks.baselines.repositories import load_checkpoint, read_served_version
from deepfake_triton.errors import InputError

pytestmark = pytest.mark.compute


def test_the_form_and_the_weights_of_a_repository(
    default_repository: Path, published_repository: Path, published_checkpoint: Path
) -> None:
    default, published = map(read_served_version, (default_repository, published_repository))
    assert default.form == "FP32, OpenVINO" and published.form == "FP32, ONNX Runtime"
    assert default.has_weights_of(read_served_version(default_repository))
    assert not default.has_weights_of(published)
    assert load_checkpoint(default, None).sha256 == default.checkpoint_sha256
    assert load_checkpoint(published, published_checkpoint).metadata.crop_side == 112
    with pytest.raises(InputError, match="name its checkpoint with --checkpoint"):
        load_checkpoint(published, None)


def test_repositories_of_other_weights_are_not_compared(
    default_repository: Path, published_repository: Path
) -> None:
    with (
        pytest.raises(InputError, match="holds other weights"),
        open_baselines(default_repository, also=[published_repository], published=False),
    ):
        pass


def test_a_repository_without_a_report_says_so(published_repository: Path, tmp_path: Path) -> None:
    shutil.copytree(published_repository, tmp_path / "repository")
    for report in (tmp_path / "repository").rglob("export_report.json"):
        report.unlink()
    with pytest.raises(InputError, match="export the repository again"):
        read_served_version(tmp_path / "repository")
