"""`deepfake-triton calibrate` on scores that are wrong by a known amount."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from deepfake_triton import cli
from deepfake_triton.models.metadata import metadata_from_mapping

pytestmark = pytest.mark.fast

METADATA = {
    "temporal": "sequence",
    "pooling": "mean",
    "label_order": "real-fake",
    "channel_order": "rgb",
    "crop_side": "112",
    "calibration_scale": "2.0",
    "calibration_shift": "0.5",
    "training_command": "deepfake-triton train m.csv",
}


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Served logits are 3 × the true ones + 1."""
    save_file({"x": np.arange(3, dtype=np.float16)}, tmp_path / "c.safetensors", METADATA)
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, 4000)
    labels = rng.uniform(size=4000) < 1 / (1 + np.exp(-true))
    served = 1 / (1 + np.exp(-(3 * true + 1)))
    scores: list[dict[str, Any]] = [
        {"label": int(y), "fake_probability": float(p)} for y, p in zip(labels, served, strict=True)
    ]
    scores.append({"label": 1, "fake_probability": None})
    found = {"split": "val", "manifest": "m.csv", "variants": {}, "by_manipulation": {}, "scores": scores}
    (tmp_path / "e.json").write_text(json.dumps(found))
    names = {"--evaluation": "e.json", "--output": "new.safetensors"}
    options = [part for key, name in names.items() for part in (key, str(tmp_path / name))]
    return ["calibrate", str(tmp_path / "c.safetensors"), *options]


def test_a_known_distortion_is_undone(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(files) == 0
    assert "calibrated on 4000 clips" in capsys.readouterr().out
    with safe_open(tmp_path / "new.safetensors", "np") as file:
        metadata = file.metadata()
        assert (file.get_tensor("x") == np.arange(3)).all()
    parsed = metadata_from_mapping(metadata)
    # The served logit z = 2 m + 0.5 becomes (z - 1) / 3.
    assert parsed.calibration_scale == pytest.approx(2 / 3, rel=0.1)
    assert parsed.calibration_shift == pytest.approx(-0.5 / 3, abs=0.1)
    assert parsed.operating_points["balanced"] == 0.5 < parsed.operating_points["conservative"]
    assert 0 < parsed.real_at_most["balanced"] == parsed.real_at_most["conservative"] < 0.5
    assert metadata["training_command"] == METADATA["training_command"]
    assert json.loads(metadata["calibrated_on"]) == {"clips": 4000, "manifest": "m.csv"}


def test_the_split_test_is_refused(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluation = tmp_path / "e.json"
    evaluation.write_text(evaluation.read_text().replace('"val"', '"test"'))
    assert cli.main(files) == 1
    assert "expected another; evaluate with --split val" in capsys.readouterr().err
    assert not (tmp_path / "new.safetensors").exists()


def test_a_checkpoint_is_not_replaced(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (tmp_path / "c.safetensors").read_bytes()
    assert cli.main([*files[:-1], files[1]]) == 1
    assert "would replace it" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        cli.main([*files[:-1], str(tmp_path / "new.pt")])
    assert (tmp_path / "c.safetensors").read_bytes() == before and len(list(tmp_path.iterdir())) == 2


def test_the_folder_of_the_checkpoint_is_made_or_refused(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*files[:-1], str(tmp_path / "e.json" / "new.safetensors")]) == 1
    assert "cannot be written there" in capsys.readouterr().err
    assert cli.main([*files[:-1], str(tmp_path / "new" / "new.safetensors")]) == 0
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["new.safetensors"]
