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
    assert 0.5 < parsed.operating_points["balanced"] < parsed.operating_points["conservative"]
    assert 0 < parsed.real_at_most["conservative"] <= parsed.real_at_most["balanced"] < 0.5
    assert metadata["training_command"] == METADATA["training_command"]
    made_of = json.loads(metadata["calibrated_on"])
    assert made_of == {
        "clips": 4000,
        "manifest": "m.csv",
        "splits": ["val"],
        "people": 1,
        "variants": ["as it is"],
    }
    borders = json.loads(metadata["borders_calibrated_on"])
    assert borders["aims"]["conservative_alarms"] == 0.02
    assert borders["cells"][0]["real_called_fake"]["balanced"] <= 0.05


def test_several_evaluations_count_alike_clean_and_compressed(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Few clips of `transfer` say that the probability is 0.5, many of `val` that it is as served."""
    write_evaluation(tmp_path / "e.json", split="val", clips=900, gap=3.0)
    write_evaluation(tmp_path / "even.json", split="transfer-even", clips=60, gap=1.0)
    more = ["--evaluation", str(tmp_path / "even.json"), "--least-found", "0.6", "0.4"]
    assert cli.main([*files, *more]) == 0
    said = capsys.readouterr().out
    assert "calibrated on 3840 clips" in said
    assert "| transfer-even, compressed: 60 real, 60 fake | balanced |" in said
    with safe_open(tmp_path / "new.safetensors", "np") as file:
        metadata = file.metadata()
    borders = json.loads(metadata["borders_calibrated_on"])
    assert [(cell["split"], cell["compressed"]) for cell in borders["cells"]] == [
        *(("transfer-even", False), ("transfer-even", True), ("val", False), ("val", True)),
    ]
    assert borders["aims"]["found_clean"] == 0.6
    for text in borders["missed_aims"]:
        assert f"aim missed: {text}" in said
    assert json.loads(metadata["calibrated_on"])["splits"] == ["transfer-even", "val"]
    # Each split has half of the weight: the slope lies between those of both alone.
    alone = []
    for name in ("e.json", "even.json"):
        assert cli.main([*files[:2], "--evaluation", str(tmp_path / name), *files[4:]]) == 0
        with safe_open(tmp_path / "new.safetensors", "np") as file:
            alone.append(float(file.metadata()["calibration_scale"]))
    both = float(metadata["calibration_scale"])
    assert alone[1] + 0.2 * (alone[0] - alone[1]) < both < alone[0] - 0.2 * (alone[0] - alone[1])


def write_evaluation(path: Path, *, split: str, clips: int, gap: float) -> None:
    """Write scores of clips, clean and at CRF 32, whose logits are ±1.5, right with odds of e^gap."""
    scores = []
    for variant in ("as it is", "h264 crf 32"):
        for label in (0, 1):
            right = round(clips / (1 + np.exp(-gap)))
            for index in range(clips):
                sign = 1 if (label == 1) == (index < right) else -1
                probability = 1 / (1 + np.exp(-1.5 * sign))
                scores.append(
                    {
                        "label": label,
                        "fake_probability": float(probability),
                        "split": split,
                        "variant": variant,
                    }
                )
    found = {"split": split, "variants": {}, "by_manipulation": {}, "scores": scores}
    path.write_text(json.dumps(found))


@pytest.mark.parametrize("split", ["test", "transfer-odd", "transfer", "val, test", "all"])
def test_splits_that_are_scored_once_are_refused(
    split: str, files: list[str], *, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluation = tmp_path / "e.json"
    evaluation.write_text(evaluation.read_text().replace('"val"', f'"{split}"'))
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
