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
from deepfake_triton.files.hashing import sha256_of_file
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
        {"path": f"{i}.mp4", "identity": f"p{i % 50}", "label": int(y), "fake_probability": float(p)}
        for i, (y, p) in enumerate(zip(labels, served, strict=True))
    ]
    scores.append({"path": "no_face.mp4", "identity": "p50", "label": 1, "fake_probability": None})
    found = {"split": "val", "manifest": "m.csv", "variants": {}, "by_manipulation": {}, "scores": scores}
    (tmp_path / "e.json").write_text(json.dumps(found))
    names = {"--evaluation": "e.json", "--output": "new.safetensors"}
    options = [part for key, name in names.items() for part in (key, str(tmp_path / name))]
    return ["calibrate", str(tmp_path / "c.safetensors"), *options]


def test_a_known_distortion_is_undone(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(files) == 0
    assert "calibrated on 4000 clips, 4000 scores" in capsys.readouterr().out
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
        "scores": 4000,
        "manifest": "m.csv",
        "splits": ["val"],
        "people": 50,
        "variants": ["as it is"],
    }
    borders = json.loads(metadata["borders_calibrated_on"])
    assert borders["aims"]["conservative_alarms"] == 0.02
    assert borders["cells"][0]["real_called_fake"]["balanced"] <= 0.05
    assert metadata["calibrated_from_sha256"] == sha256_of_file(tmp_path / "c.safetensors")
    # Calibrated again, it still says which weights these were.
    served = json.loads((tmp_path / "e.json").read_text())
    served |= {key: json.loads(metadata[key]) for key in ("operating_points", "real_at_most")}
    (tmp_path / "again.json").write_text(json.dumps(served))
    again = ["--evaluation", str(tmp_path / "again.json"), "--output", str(tmp_path / "third.safetensors")]
    assert cli.main(["calibrate", str(tmp_path / "new.safetensors"), *again]) == 0
    with safe_open(tmp_path / "third.safetensors", "np") as file:
        assert file.metadata()["calibrated_from_sha256"] == metadata["calibrated_from_sha256"]


def test_several_evaluations_count_alike_clean_and_compressed(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Few clips of `transfer` say that the probability is 0.5, many of `val` that it is as served."""
    write_evaluation(tmp_path / "e.json", split="val", clips=900, gap=3.0)
    write_evaluation(tmp_path / "even.json", split="transfer-even", clips=60, gap=1.0)
    more = ["--evaluation", str(tmp_path / "even.json"), "--least-found", "0.6", "0.4"]
    assert cli.main([*files, *more]) == 0
    said = capsys.readouterr().out
    assert "calibrated on 1920 clips, 3840 scores" in said
    assert "| transfer-even, compressed: 60 real, 60 fake of 60 people, 120 scores | balanced |" in said
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


def write_evaluation(path: Path, *, split: str, clips: int, gap: float, people: int = 60) -> None:
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
                        "path": f"{label}/{index}.mp4",
                        "identity": f"p{index % people}",
                        "label": label,
                        "fake_probability": float(probability),
                        "split": split,
                        "variant": variant,
                    }
                )
    manifest = f"{path.stem}.csv"
    found = {
        "manifest": manifest,
        "split": split,
        "variants": {},
        "by_manipulation": {},
        "scores": scores,
    }
    path.write_text(json.dumps(found))


@pytest.mark.parametrize("split", ["test", "transfer-odd", "transfer", "train", "val, test", "all"])
def test_splits_that_are_scored_once_are_refused(
    split: str, files: list[str], *, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluation = tmp_path / "e.json"
    evaluation.write_text(evaluation.read_text().replace('"val"', f'"{split}"'))
    assert cli.main(files) == 1
    assert "expected another; evaluate with --split val" in capsys.readouterr().err
    assert not (tmp_path / "new.safetensors").exists()


def test_clips_in_two_evaluations_count_once(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_evaluation(tmp_path / "e.json", split="val", clips=40, gap=2.0)
    assert cli.main(files) == 0
    alone = capsys.readouterr().out
    assert "calibrated on 80 clips, 160 scores" in alone
    assert cli.main([*files, "--evaluation", files[3]]) == 0
    assert capsys.readouterr().out == alone


def test_clips_that_name_no_split_are_of_their_own_evaluation(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, split in (("e.json", "val"), ("even.json", "transfer-even")):
        write_evaluation(tmp_path / name, split=split, clips=40, gap=2.0)
        stored = json.loads((tmp_path / name).read_text())
        for clip in stored["scores"]:
            del clip["split"]
        (tmp_path / name).write_text(json.dumps(stored))
    assert cli.main([*files, "--evaluation", str(tmp_path / "even.json")]) == 0
    said = capsys.readouterr().out
    assert "| transfer-even, as they are: 40 real, 40 fake" in said and "| val, as they are: 40 real" in said


def test_clips_under_a_condition_choose_nothing(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = json.loads((tmp_path / "e.json").read_text())
    for clip in stored["scores"][::2]:
        clip["condition"] = "roll=30"
    (tmp_path / "e.json").write_text(json.dumps(stored))
    assert cli.main(files) == 0
    assert "calibrated on 2000 clips" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("clips", "people", "said"),
    [
        (9, 9, "the split val: got 9 real and 9 fake clips of 9 people; figures need 10 of either"),
        (40, 4, "the split val: got 40 real and 40 fake clips of 4 people"),
        (0, 1, "e.json: got no scores, expected those of every clip"),
    ],
)
def test_too_few_clips_are_refused(
    clips: int,
    people: int,
    said: str,
    *,
    files: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_evaluation(tmp_path / "e.json", split="val", clips=clips, gap=2.0, people=people)
    write_evaluation(tmp_path / "even.json", split="transfer-even", clips=50, gap=2.0)
    assert cli.main([*files, "--evaluation", str(tmp_path / "even.json")]) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "new.safetensors").exists()


@pytest.mark.parametrize("with_real", [True, False])
def test_an_evaluation_of_another_checkpoint_is_refused(
    files: list[str], *, with_real: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points = {"operating_points": {"balanced": 0.5, "conservative": 0.9}, "real_at_most": {"balanced": 0.3}}
    text = {key: json.dumps(value) for key, value in points.items()}
    save_file({"x": np.arange(3, dtype=np.float16)}, tmp_path / "c.safetensors", METADATA | text)
    stored = json.loads((tmp_path / "e.json").read_text())

    def calibrated(**changes: Any) -> int:
        given = points if with_real else {"operating_points": points["operating_points"]}
        (tmp_path / "e.json").write_text(json.dumps({**stored, **given, **changes}))
        return cli.main(files)

    other = {"operating_points": {"balanced": 0.5, "conservative": 0.95}}
    if with_real:
        assert calibrated(real_at_most={"balanced": 0.2}) == 1
        assert "got thresholds balanced: REAL ≤ 0.2, FAKE ≥ 0.5; conservative:" in capsys.readouterr().err
    assert calibrated(**other) == 1
    said = capsys.readouterr().err
    assert "FAKE ≥ 0.95, the checkpoint has balanced: REAL" in said and "serve it and evaluate again" in said
    assert not (tmp_path / "new.safetensors").exists()
    assert calibrated() == 0


def test_the_least_found_of_compressed_clips_needs_some(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*files, "--least-found", "0.8", "0.7"]) == 1
    said = capsys.readouterr().err
    assert (
        "got 0.7 as the least share of compressed fakes to find, but the split val has no such clip" in said
    )
    assert not (tmp_path / "new.safetensors").exists()
    assert cli.main([*files, "--least-found", "0.8", "0"]) == 0
    assert "balanced, val: no compressed clips, so that the aims for them were not checked" in (
        capsys.readouterr().out
    )


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
