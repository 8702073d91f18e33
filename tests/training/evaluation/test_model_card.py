"""The model card is generated from checkpoint and evaluation, and contains nothing written by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from paths import ROOT
from safetensors.numpy import save_file

from deepfake_triton import cli
from deepfake_triton.models.default_checkpoint import DEFAULT_CHECKPOINT
from deepfake_triton.training.evaluation.model_card import format_model_card
from deepfake_triton.training.evaluation.results import EvaluationHeader, ScoredClip, Scores
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


def test_the_shipped_card_is_what_the_command_writes() -> None:
    data = ROOT / "training" / "default_model"
    written = format_model_card(
        DEFAULT_CHECKPOINT, data / "evaluation.json", (data / "data_notes.md").read_text()
    )
    assert (ROOT / "MODEL_CARD.md").read_text() == written
