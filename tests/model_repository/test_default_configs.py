"""The configs that stand in the repository are those of the default export, but for its hash."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

import deepfake_triton.model_repository
from deepfake_triton.export.repository.configs import config_text, model_configs
from deepfake_triton.export.repository.layout import CROP_RULE_NAME
from deepfake_triton.models.default_checkpoint import default_checkpoint

pytestmark = pytest.mark.fast

FOLDER = Path(deepfake_triton.model_repository.__file__).parent
NO_EXPORT = "0" * 64
METADATA = default_checkpoint().metadata


def test_configs_are_those_that_export_writes() -> None:
    written = model_configs(METADATA, 1, weights="default", export_sha256=NO_EXPORT)
    assert {path.parent.name for path in FOLDER.glob("*/config.pbtxt")} == set(written)
    for name, config in written.items():
        assert (FOLDER / name / "config.pbtxt").read_text() == config_text(config), (
            f"{name}: write it again: python tests/model_repository/test_default_configs.py"
        )


def test_the_crop_rule_is_the_default_one() -> None:
    rule = json.loads((FOLDER / "face_tracker" / "1" / CROP_RULE_NAME).read_text())
    assert rule == asdict(METADATA.crop_rule)


if __name__ == "__main__":
    for name, config in model_configs(METADATA, 1, weights="default", export_sha256=NO_EXPORT).items():
        (FOLDER / name).mkdir(exist_ok=True)
        (FOLDER / name / "config.pbtxt").write_text(config_text(config))
    rule_path = FOLDER / "face_tracker" / "1" / CROP_RULE_NAME
    rule_path.write_text(json.dumps(asdict(METADATA.crop_rule)) + "\n")
