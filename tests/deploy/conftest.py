"""A repository that several files of this folder serve."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from deepfake_triton.export.options import ExportOptions, OnnxRuntimeEngine, ParityOptions, UntrainedWeights
from deepfake_triton.export.pipeline import export


@pytest.fixture(scope="session")
def next_repository(
    default_repository: Path, brief_clip: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A copy of the default one with a second version, whose verdicts differ."""
    copy = tmp_path_factory.mktemp("next") / "repository"
    shutil.copytree(default_repository, copy)
    engine = OnnxRuntimeEngine(openvino=True)
    export(ExportOptions(copy, UntrainedWeights(), engine=engine, parity=ParityOptions(brief_clip)))
    return copy
