"""The model card is generated from checkpoint and evaluation, and contains nothing written by hand."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from paths import ROOT
from safetensors.numpy import save_file

from deepfake_triton import cli
from deepfake_triton.files.hashing import sha256_of_file
from deepfake_triton.models.checkpoints.sidecar import read_metadata
from deepfake_triton.models.default_checkpoint import DEFAULT_CHECKPOINT
from deepfake_triton.training.evaluation.card.model_card import CardSources, format_model_card
from deepfake_triton.training.evaluation.card.real_world import (
    RealWorldGroup,
    RealWorldScores,
    real_world_lines,
)
from deepfake_triton.training.evaluation.figures import Estimate
from deepfake_triton.training.evaluation.results import (
    EvaluationHeader,
    ScoredClip,
    Scores,
    read_evaluation,
)
from deepfake_triton.training.evaluation.summary import summarize_scores

pytestmark = pytest.mark.fast


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    metadata = {
        "architecture": "resnext50_32x4d+lstm",
        "crop_side": "112",
        "operating_points": '{"balanced": 0.5}',
        "real_at_most": '{"balanced": 0.25}',
        "training_command": "deepfake-triton train m.csv",
        "training_settings": json.dumps({"seed": 3, "teacher": {"name": "Some Teacher (Apache-2.0)"}}),
    }
    save_file({"x": np.zeros(1, np.float16)}, tmp_path / "c.safetensors", metadata)
    clips = [
        ScoredClip(f"{i}", i % 2, f"p{i}", "s", "swap" * (i % 2), "", "as it is", p, 1.0, 1.0)
        for i, p in enumerate((0.1, 0.9, 0.6, 0.4) * 5)
    ]
    evaluation = summarize_scores(
        Scores(tuple(clips), {}),
        EvaluationHeader(model="m"),
        fake_at_least={"balanced": 0.5},
        real_at_most={"balanced": 0.25},
        rounds=20,
    )
    (tmp_path / "e.json").write_text(json.dumps(evaluation.to_json()))
    (tmp_path / "notes.md").write_text("Photos of nobody, CC0.\n")
    names = {"--evaluation": "e.json", "--data-notes": "notes.md", "--output": "card.md"}
    options = [part for key, name in names.items() for part in (key, str(tmp_path / name))]
    return [str(tmp_path / "c.safetensors"), *options]


def test_the_card_carries_metadata_metrics_and_failures(files: list[str], tmp_path: Path) -> None:
    assert cli.main(["card", *files]) == 0
    card = (tmp_path / "card.md").read_text()
    for text in ("resnext50_32x4d+lstm", "Photos of nobody, CC0.", "Some Teacher (Apache-2.0)", "seed: 3"):
        assert text in card
    assert "$ deepfake-triton train m.csv" in card
    assert "| as it is | 10 real, 10 fake | 0.750 [" in card
    assert "operating points: balanced: REAL ≤ 0.25, FAKE ≥ 0.5\n" in card
    assert "| as it is | balanced: REAL ≤ 0.25, FAKE ≥ 0.5 | 0.250 | 0.667 [" in card
    assert "- swap: AUC 0.750" in card  # under 0.9: it fails there


def test_what_is_no_evaluation_is_refused(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "e.json").write_text("{}")
    assert cli.main(["card", *files]) == 1
    assert "variants, by_manipulation missing" in capsys.readouterr().err
    (tmp_path / "c.safetensors").write_bytes(b"none")
    assert cli.main(["card", *files]) == 1
    assert "cannot be read as a checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "card.md").exists()


def test_the_card_goes_where_it_is_told_to_and_nowhere_else(
    files: list[str],
    tmp_path: Path,
    *,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert cli.main(["card", *files[:-2]]) == 0
    assert capsys.readouterr().out.startswith("# Model card\n")
    assert cli.main(["card", *files[:-1], "notes.md"]) == 1
    assert "is the input" in capsys.readouterr().err
    for name in ("e.json", "c.safetensors", "card"):
        with pytest.raises(SystemExit, match="2"):
            cli.main(["card", *files[:-1], name])
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_card_s_folder_is_made_or_refused(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["card", *files[:-1], str(tmp_path / "e.json" / "card.md")]) == 1
    assert "cannot be written there" in capsys.readouterr().err
    assert cli.main(["card", *files[:-1], str(tmp_path / "new" / "card.md")]) == 0
    assert (tmp_path / "new" / "card.md").read_text().startswith("# Model card")


def real_world(checkpoint_sha256: str) -> RealWorldScores:
    groups = (
        RealWorldGroup("swaps", Estimate(0.75, 0.45, 0.95), jpeg_size_auc=0.8, calibration_error=0.2),
        RealWorldGroup("all", Estimate(0.7, 0.55, 0.85), jpeg_size_auc=0.71, calibration_error=0.25),
    )
    return RealWorldScores(checkpoint_sha256, 40, 20, groups, 0.6, 5)


def test_the_card_says_whose_real_world_scores_it_shows(files: list[str], tmp_path: Path) -> None:
    own = sha256_of_file(tmp_path / "c.safetensors")
    file = tmp_path / "r.json"
    said = {}
    for name, sha256 in (("own", own), ("before", "0" * 64)):
        file.write_text(json.dumps(asdict(real_world(sha256))))
        assert cli.main(["card", *files, "--real-world", str(file)]) == 0
        said[name] = (tmp_path / "card.md").read_text().replace("\n", " ")
    assert (
        "These weights were scored on 40 real-world clips that are not part of the project, 20" in said["own"]
    )
    assert "not been scored there yet" not in said["own"]
    assert "The weights before these were scored on 40 real-world clips" in said["before"]
    assert "**These weights have not been scored there yet**" in said["before"]
    for card in said.values():
        assert "| swaps | 0.750 [0.450, 0.950] | 0.80 | 0.20 |" in card
        assert (
            "real clips called FAKE at `balanced`: 5 of 20" in card
            and "above its own original in 60 % of" in card
        )
        assert "One in 4 real videos was called FAKE" in card and "do not rule out chance" in card
        assert "the JPEG size of the face alone told real from fake better" in card
    file.write_text('{"clips": 3}')
    assert cli.main(["card", *files, "--real-world", str(file)]) == 1


def test_better_real_world_scores_are_not_talked_down() -> None:
    good = replace(
        real_world(""),
        groups=(RealWorldGroup("all", Estimate(0.9, 0.8, 0.95), jpeg_size_auc=0.6, calibration_error=0.1),),
        real_called_fake=0,
    )
    text = " ".join(real_world_lines(good, ""))
    assert "rule out chance" not in text and "JPEG size of the face alone told" not in text
    assert "0 of 20" in text and "One in" not in text


def test_thresholds_stand_beside_clips_that_chose_nothing(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = [
        replace(clip, corruption=corruption, split="transfer-even")
        for clip in read_evaluation(tmp_path / "e.json").scores
        for corruption in ("as it is", "half scale, crf 32")
    ]
    points = {"balanced": 0.5, "conservative": 0.95}
    for name, split in (("even", "transfer-even"), ("odd", "transfer-odd")):
        scored = Scores(tuple(replace(clip, split=split) for clip in clips), {})
        header = EvaluationHeader(split=split)
        found = summarize_scores(scored, header, fake_at_least=points, real_at_most={}, rounds=5)
        (tmp_path / f"{name}.json").write_text(json.dumps(found.to_json()))
    metadata = {
        **read_metadata(tmp_path / "c.safetensors"),
        "label_order": "real-fake",
        "temporal": "sequence",
        "pooling": "mean",
        "channel_order": "rgb",
    }
    save_file({"x": np.zeros(1, np.float16)}, tmp_path / "c.safetensors", metadata)
    calibrated = str(tmp_path / "new.safetensors")
    made = ["--evaluation", str(tmp_path / "even.json"), "--output", calibrated]
    assert cli.main(["calibrate", files[0], *made]) == 0
    assert cli.main(["card", calibrated, *files[1:], "--further-evaluation", str(tmp_path / "odd.json")]) == 0
    card = (tmp_path / "card.md").read_text().replace("\n", " ")
    assert "at most 2 % FAKE at `conservative` and 5 %" in card
    assert "| transfer-even, as they are: 10 real, 10 fake | balanced |" in card
    assert "| transfer-even, compressed: 10 real, 10 fake | conservative |" in card
    assert "- aim missed: balanced: 0." in card  # two fakes of five score under most of the real clips
    assert "| transfer-odd, half scale, crf 32 | conservative: REAL < 0.95, FAKE ≥ 0.95 |" in card
    assert "- transfer-odd, as it is: AUC 0.750 [" in card
    assert "### transfer-odd" in card and "borders calibrated on" not in card


def test_the_shipped_card_is_what_the_command_writes() -> None:
    data = ROOT / "training" / "default_model"
    written = format_model_card(
        DEFAULT_CHECKPOINT,
        CardSources(
            data / "evaluation.json",
            further=(data / "transfer_even.json", data / "transfer_odd.json"),
            real_world=data / "real_world.json",
        ),
        (data / "data_notes.md").read_text(),
    )
    assert (ROOT / "MODEL_CARD.md").read_text() == written
