"""`serve --add-engines` where there is no GPU, and where there is nothing to build."""

from __future__ import annotations

from pathlib import Path

import pytest
from serve_command import run_serve, serving
from support import new_version

from deepfake_triton.export.repository.configs import config_from_text, config_text
from deepfake_triton.export.repository.layout import publish

pytestmark = pytest.mark.triton


def test_without_a_gpu_it_says_so_and_starts_nothing(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    publish(new_version(tmp_path, 1), repository)
    for name in ("face_detector", "feature_extractor", "sequence_classifier"):
        path = repository / name / "config.pbtxt"
        config = config_from_text(path.read_text())
        config.backend = "tensorrt"
        path.write_text(config_text(config))
    status, errors = run_serve(str(repository), "--add-engines")
    assert status == 1 and len(errors) == 2
    assert "no GPU here to build for" in errors[0] and "no engines for this GPU" in errors[1]


def test_a_repository_for_onnx_runtime_is_served_as_it_is(small_repository: Path) -> None:
    with serving(small_repository, "--add-engines") as served:
        assert served.said.startswith("ready: ")
