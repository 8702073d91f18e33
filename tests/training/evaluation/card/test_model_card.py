"""The model card is generated from checkpoint and evaluation, and contains nothing written by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from paths import ROOT
from real_world_scores import real_world
from safetensors.numpy import save_file

from deepfake_triton import cli
from deepfake_triton.files.hashing import sha256_of_file
from deepfake_triton.models.checkpoints.sidecar import read_metadata
from deepfake_triton.models.default_checkpoint import DEFAULT_CHECKPOINT
from deepfake_triton.training.evaluation.card.model_card import CardSources, format_model_card
from deepfake_triton.training.evaluation.card.sections import TitledEvaluation
from deepfake_triton.training.evaluation.results import (
    Evaluation,
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
        ScoredClip(f"{i}.mp4", i % 2, f"p{i}", "s", "swap" * (i % 2), "", "as it is", p, 1.0, 1.0)
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


def test_the_card_says_whose_real_world_scores_it_shows(files: list[str], tmp_path: Path) -> None:
    own = sha256_of_file(tmp_path / "c.safetensors")
    file = tmp_path / "r.json"
    said = {}
    for name, sha256 in (("own", own), ("other", "0" * 64)):
        file.write_text(json.dumps(asdict(real_world(sha256))))
        assert cli.main(["card", *files, "--real-world", str(file)]) == 0
        said[name] = (tmp_path / "card.md").read_text().replace("\n", " ")
    assert f"These weights ({own[:12]}) were scored on 40 real-world clips that are not part" in said["own"]
    assert "not been scored there yet" not in said["own"]
    assert "Weights 000000000000 were scored on 40 real-world clips" in said["other"]
    assert f"**These weights ({own[:12]}) have not been scored there yet**" in said["other"]
    for card in said.values():
        assert "| swaps | 0.75 [0.45, 0.95] | 0.8 | 0.2 |" in card  # the digits that are stored, no more
        assert "real clips called FAKE at `balanced`: 5 of 20" in card
        assert "fakes called FAKE at `balanced`: 9 of 20" in card
        assert "above its own original in 60 % of" in card
        assert "5 of 20 real videos were called FAKE" in card
        assert "the interval does not rule out chance: swaps." in card
        assert "the JPEG size of the face alone has a higher AUC than the model (swaps, 0.8 against" in card
    file.write_text('{"clips": 3}')
    assert cli.main(["card", *files, "--real-world", str(file)]) == 1


POINTS = {"balanced": 0.5, "conservative": 0.95}


def scored_as(
    path: Path,
    clips: Sequence[ScoredClip],
    *,
    split: str | None,
    thresholds: tuple[Mapping[str, float], Mapping[str, float]] = (POINTS, {}),
) -> str:
    """Write an evaluation of the clips, as they are and compressed, as if all were of one split."""
    changed = [
        replace(clip, split=split or "", corruption=corruption)
        for clip in clips
        for corruption in ("as it is", "half scale, crf 32")
    ]
    header = EvaluationHeader(split=split)
    found = summarize_scores(
        Scores(tuple(changed), {}),
        header,
        fake_at_least=thresholds[0],
        real_at_most=thresholds[1],
        rounds=5,
    )
    path.write_text(json.dumps(found.to_json()))
    return str(path)


def write_checkpoint(folder: Path, **changes: object) -> None:
    """Give the checkpoint metadata that it can be calibrated with."""
    metadata = {
        **read_metadata(folder / "c.safetensors"),
        "label_order": "real-fake",
        "temporal": "sequence",
        "pooling": "mean",
        "channel_order": "rgb",
        "operating_points": json.dumps(POINTS),
        "real_at_most": json.dumps(POINTS),
        **{key: json.dumps(value) for key, value in changes.items()},
    }
    save_file({"x": np.zeros(1, np.float16)}, folder / "c.safetensors", metadata)


def test_thresholds_stand_beside_clips_that_chose_nothing(files: list[str], tmp_path: Path) -> None:
    clips = read_evaluation(tmp_path / "e.json").scores
    write_checkpoint(tmp_path)
    even = scored_as(tmp_path / "even.json", clips, split="transfer-even")
    calibrated = str(tmp_path / "new.safetensors")
    assert cli.main(["calibrate", files[0], "--evaluation", even, "--output", calibrated]) == 0
    metadata = read_metadata(Path(calibrated))
    new = (json.loads(metadata["operating_points"]), json.loads(metadata["real_at_most"]))
    scored_as(tmp_path / "e.json", clips, split="test", thresholds=new)
    even = scored_as(tmp_path / "even.json", clips, split="transfer-even", thresholds=new)
    odd = scored_as(tmp_path / "odd.json", clips, split="transfer-odd", thresholds=new)
    further = ["--further-evaluation", even, "--further-evaluation", odd]
    assert cli.main(["card", calibrated, *files[1:], *further]) == 0
    card = (tmp_path / "card.md").read_text().replace("\n", " ")
    assert "at most 2 % FAKE at `conservative` and 5 %" in card
    counts = "10 real, 10 fake of 20 people, 20 scores"
    assert f"| transfer-even, as they are: {counts} | balanced |" in card
    assert f"| transfer-even, compressed: {counts} | conservative |" in card
    assert "- aim missed: balanced, transfer-even: 0." in card  # two fakes of five are under most real clips
    held_out = card.split("which chose nothing:")[1].split("## Evaluation")[0]
    assert "| transfer-odd, half scale, crf 32 | conservative: REAL" in held_out
    assert "| test, as it is |" in held_out and "transfer-even" not in held_out
    assert "### transfer-even  The thresholds were chosen on clips of this split." in card
    assert "### transfer-odd  - split: transfer-odd" in card and "borders calibrated on" not in card
    assert "- transfer-odd, as it is: AUC 0.750 [" in card
    odd = scored_as(tmp_path / "odd.json", clips, split="transfer-odd")
    assert cli.main(["card", calibrated, *files[1:], "--further-evaluation", odd]) == 1


def test_what_may_hold_clips_that_chose_is_not_held_out() -> None:
    def shows(split: str | None, *choosing: str) -> bool:
        stored: dict[str, object] = {"split": split, "variants": {}, "by_manipulation": {}}
        return TitledEvaluation("e", Evaluation.from_json(stored)).shows(choosing)

    assert shows("transfer-even", "val", "transfer-even") and shows("test, val", "val")
    assert shows("transfer", "transfer-even") and shows("all", "val")
    assert not shows("transfer-odd", "val", "transfer-even") and not shows("all") and not shows(None, "val")


def test_evaluations_of_another_checkpoint_are_refused(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_checkpoint(tmp_path, operating_points={"balanced": 0.6}, real_at_most={"balanced": 0.25})
    assert cli.main(["card", *files]) == 1
    assert "e.json: got thresholds balanced: REAL ≤ 0.25, FAKE ≥ 0.5, the checkpoint has balanced: REAL" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "card.md").exists()


def test_weak_groups_of_every_evaluation_are_limitations(files: list[str], tmp_path: Path) -> None:
    """Equal headers hide nothing, and neither does a header without a split."""
    clips = read_evaluation(tmp_path / "e.json").scores
    posed = [replace(clip, condition="roll=30", path=clip.path.replace(".", "-roll=30.")) for clip in clips]
    halves = [replace(clip, path=f"odd-{clip.path}", split="transfer-odd") for clip in clips]
    write_checkpoint(tmp_path)
    further = []
    for name, split, shown in (
        ("one.json", "transfer-odd", clips),
        ("two.json", "transfer-odd", [*clips, *posed]),
        ("three.json", None, clips),
    ):
        further += ["--further-evaluation", scored_as(tmp_path / name, shown, split=split)]
    scored = Scores((*(replace(clip, split="val") for clip in clips), *halves), {})
    found = summarize_scores(scored, EvaluationHeader(split="all"), fake_at_least=POINTS, rounds=5)
    (tmp_path / "e.json").write_text(json.dumps(found.to_json()))
    assert cli.main(["card", *files, *further]) == 0
    card = (tmp_path / "card.md").read_text()
    said = card.split("## Limitations")[1]
    assert f"- transfer-odd ({tmp_path.name}/one.json), swap: AUC 0.750" in said
    assert f"- transfer-odd ({tmp_path.name}/two.json), roll=30: AUC 0.750" in said
    assert f"- {tmp_path.name}/three.json, as it is: AUC 0.750" in said and "None" not in said
    assert f"### {tmp_path.name}/three.json" in card
    assert "| roll=30 | 10 | +0.000 | 0.000 |" in card  # the condition changed no real clip
    assert "- val: AUC 0.750" in said and "- transfer-odd: AUC 0.750" in said


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
