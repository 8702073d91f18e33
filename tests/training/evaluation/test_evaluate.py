"""`deepfake-triton evaluate`: through a real server, and from scores whose metrics are known."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Portrait
from paths import ROOT
from scored_clips import scored
from support import backdrop, pasted, write_clip

from deepfake_triton import cli
from deepfake_triton.dataset_manifest import ManifestRow, write_manifest
from deepfake_triton.errors import DatasetError
from deepfake_triton.preprocessing.quality import sharpness_of
from deepfake_triton.serving.server import TritonServer
from deepfake_triton.training.commands.evaluate import configure
from deepfake_triton.training.evaluation.corruptions import AS_IS, CORRUPTIONS, Corruption, corrupt_frame
from deepfake_triton.training.evaluation.figures import Estimate
from deepfake_triton.training.evaluation.mirroring import MIRROR_MEAN, MIRRORED
from deepfake_triton.training.evaluation.report import write_report
from deepfake_triton.training.evaluation.results import (
    Evaluation,
    EvaluationHeader,
    Scores,
    read_evaluation,
)
from deepfake_triton.training.evaluation.scoring import jpeg_size_bytes
from deepfake_triton.training.evaluation.summary import summarize_scores

REAL_SCORES, FAKE_SCORES = (0.1, 0.2, 0.6, None), (0.9, 0.1, 0.8, 0.7)
POINTS = {"balanced": 0.5, "conservative": 0.75}


def clips_of(copies: int) -> Scores:
    """Four real and four fake clips with known scores, repeated `copies` times, each of one person."""
    clips = [scored(4 * c + i, 0, p) for c in range(copies) for i, p in enumerate(REAL_SCORES)]
    clips += [scored(4 * c + i, 1, p) for c in range(copies) for i, p in enumerate(FAKE_SCORES)]
    return Scores(tuple(clips), {"lost.mp4": "no such file"})


def evaluate(copies: int, **options: Any) -> Evaluation:
    header = EvaluationHeader(model="model 7 of somebody", normalized=False, date="2031-02-03")
    return summarize_scores(clips_of(copies), header, **{"fake_at_least": POINTS, "rounds": 50, **options})


@pytest.mark.compute
def test_known_scores_give_known_metrics(tmp_path: Path) -> None:
    evaluation = evaluate(3, real_at_most={"balanced": 0.15})
    found = evaluation.by_corruption[AS_IS]
    above = [(f > r) + 0.5 * (f == r) for f in FAKE_SCORES for r in (0.1, 0.2, 0.6, 0.5)]
    assert found.auc.value == pytest.approx(np.mean(above)) and found.too_few is None
    assert found.inconclusive_share == 0.125
    assert (found.pairs.pairs, found.pairs.fake_above_original.value) == (12, (1 + 0 + 1 + 0.5) / 4)
    pairs = found.pairs.fake_above_original
    assert pairs.low is not None and pairs.high is not None and pairs.low < 0.5 and pairs.high > 0.75
    assert found.baselines["sharpness"].value == 1 and found.baselines["jpeg_bytes"].value == 0.5
    balanced, conservative = found.decisions["balanced"], found.decisions["conservative"]
    # The clip without a probability ranks at 0.5, but no threshold calls it FAKE.
    assert balanced.recall == 0.75 and balanced.false_alarms.value == 0.25
    assert balanced.precision == 0.75 and balanced.accuracy.value == 0.75
    assert conservative.recall == 0.5 and conservative.false_alarms.value == 0
    assert evaluation.by_manipulation["swap"].clips == 24
    assert (balanced.real_at_most, balanced.uncertain_share) == (0.15, 0.125)
    assert balanced.answered_accuracy and balanced.missed
    assert balanced.answered_accuracy.value == pytest.approx(4 / 6, abs=1e-5)
    assert balanced.missed.value == 0.25
    assert (conservative.real_at_most, conservative.uncertain_share) == (0.75, 0)
    assert evaluation.real_at_most == {"balanced": 0.15, "conservative": 0.75}
    write_report(tmp_path, evaluation)
    assert {path.name for path in tmp_path.iterdir()} == {
        *("evaluation.json", "report.md", "roc.svg", "reliability.svg", "scores.svg"),
    }
    report = (tmp_path / "report.md").read_text()
    assert (
        "lost.mp4: no such file" in report
        and "| balanced: REAL ≤ 0.15, FAKE ≥ 0.5 | 0.125 | 0.667 [" in report
    )
    for path in tmp_path.glob("*.svg"):
        assert "model 7 of somebody" in path.read_text() and "2031-02-03" in path.read_text()


@pytest.mark.compute
def test_the_file_has_the_documented_keys_and_is_read_back(tmp_path: Path) -> None:
    evaluation = evaluate(3, rounds=2)
    write_report(tmp_path, evaluation)
    stored = json.loads((tmp_path / "evaluation.json").read_text())
    assert list(stored) == [
        *("schema_version", "model", "normalised", "date", "intervals", "clips", "faults"),
        *("operating_points", "real_at_most", "variants", "by_source", "by_manipulation", "by_split"),
        *("by_condition", "scores"),
    ]
    group = stored["variants"][AS_IS]
    assert list(group) == [
        *("clips", "real", "fake", "inconclusive_share", "too_few", "auc", "average_precision"),
        *("equal_error_rate", "calibration_error", "decisions", "rivals", "pairs"),
    ]
    assert list(group["decisions"]["balanced"]) == [
        *("threshold", "accuracy", "precision", "recall", "f1", "false_alarms", "real_at_most"),
        *("uncertain_share", "answered_accuracy", "missed"),
    ]
    assert list(group["auc"]) == ["value", "low", "high"]
    assert list(group["rivals"]) == ["sharpness", "jpeg_bytes"]
    assert list(group["pairs"]) == ["pairs", "fake_above_original", "low", "high"]
    assert list(stored["scores"][0]) == [
        *("path", "label", "identity", "source", "manipulation", "original", "variant"),
        *("fake_probability", "sharpness", "jpeg_bytes", "split", "condition"),
    ]
    assert read_evaluation(tmp_path / "evaluation.json") == evaluation


@pytest.mark.compute
def test_halves_and_conditions_are_measured_each(tmp_path: Path) -> None:
    evaluation = evaluate(3)
    assert (evaluation.by_split, evaluation.by_condition, evaluation.mirroring) == ({}, {}, None)
    clips = [
        replace(clip, split=split, condition=condition, fake_probability=probability)
        for clip in clips_of(3).clips
        for split, condition, probability in (
            ("transfer-even", "", 0.1 + 0.8 * clip.label),
            ("transfer-odd", "", 0.5),
            ("transfer-odd", "roll=30", 0.9 - 0.8 * clip.label),
        )
    ]  # the clips under a condition are in no group but theirs
    found = summarize_scores(Scores(tuple(clips), {}), EvaluationHeader(), fake_at_least=POINTS, rounds=10)
    assert {name: group.auc.value for name, group in found.by_split.items()} == {
        "transfer-even": 1.0,
        "transfer-odd": 0.5,
    }
    assert {name: group.auc.value for name, group in found.by_condition.items()} == {
        "plain": 0.875,
        "roll=30": 0.0,
    }
    even = found.by_split["transfer-even"]
    assert even.auc.low is not None and even.auc.low < 0.9  # all in order, yet of 12 people
    write_report(tmp_path, found)
    assert read_evaluation(tmp_path / "evaluation.json") == found
    report = (tmp_path / "report.md").read_text()
    assert found.clips == 72 and found.by_corruption[AS_IS].clips == found.by_source["s"].clips == 48
    assert "| transfer-odd | 12 real, 12 fake | 0.500 [" in report
    assert "| roll=30 | balanced: REAL < 0.5, FAKE ≥ 0.5 | 0.000 | 0.000 [" in report


def as_an_earlier_release_wrote(stored: dict[str, Any]) -> dict[str, Any]:
    """The content of an `evaluation.json` without what came later."""

    def group(figures: dict[str, Any]) -> dict[str, Any]:
        later = ("real_at_most", "uncertain_share", "answered_accuracy", "missed")
        decisions = {name: without(found, *later) for name, found in figures["decisions"].items()}
        pairs = without(figures["pairs"], "low", "high")
        return without(figures, "too_few") | {"decisions": decisions, "pairs": pairs}

    groups = {
        key: {name: group(figures) for name, figures in stored[key].items()}
        for key in ("variants", "by_source", "by_manipulation")
    }
    return without(stored | groups, "schema_version", "real_at_most", "date", "intervals", "by_split")


def without(stored: dict[str, Any], *keys: str) -> dict[str, Any]:
    """A JSON object without some of its keys."""
    return {key: value for key, value in stored.items() if key not in keys}


@pytest.mark.fast
def test_evaluations_of_earlier_releases_are_read(tmp_path: Path) -> None:
    shipped = ROOT / "training" / "default_model" / "evaluation.json"
    stored = as_an_earlier_release_wrote(json.loads(shipped.read_text()))
    (tmp_path / "earlier.json").write_text(json.dumps(stored))
    evaluation = read_evaluation(tmp_path / "earlier.json")
    auc = stored["variants"][AS_IS]["auc"]
    assert evaluation.by_corruption[AS_IS].auc == Estimate(auc["value"], auc["low"], auc["high"])
    assert evaluation.real_at_most is None and evaluation.header.frames == 20
    assert evaluation.by_corruption[AS_IS].decisions["balanced"].missed is None
    assert evaluation.scores == () and evaluation.clips == stored["clips"]
    (tmp_path / "e.json").write_text('{"variants": {"as it is": 3}, "by_manipulation": {}}')
    with pytest.raises(DatasetError, match=r"e\.json: got .*expected what `evaluate` wrote"):
        read_evaluation(tmp_path / "e.json")


@pytest.mark.compute
def test_a_threshold_that_several_points_share_is_labeled_once(tmp_path: Path) -> None:
    points, real_at_most = {"balanced": 0.5, "other": 0.5, "strict": 0.52}, {"balanced": 0.15, "other": 0.15}
    write_report(tmp_path, evaluate(3, fake_at_least=points, real_at_most=real_at_most, rounds=5))
    drawn = (tmp_path / "scores.svg").read_text()
    texts = ("balanced, other: REAL ≤ 0.15", "balanced, other: FAKE ≥ 0.5", "strict: FAKE ≥ 0.52")
    assert [drawn.count(f"<!--  {text}  -->") for text in texts] == [1, 1, 1]
    assert drawn.count("FAKE ≥") == 2 and drawn.count("REAL ≤") == 1


@pytest.mark.compute
def test_few_clips_give_no_metrics(tmp_path: Path) -> None:
    evaluation = evaluate(1)
    found, enough = evaluation.by_corruption[AS_IS], evaluate(3).by_corruption[AS_IS]
    assert found.to_json().keys() == enough.to_json().keys()
    assert found.auc == Estimate(None, None, None)
    assert found.decisions["balanced"].recall is None and found.clips == 8
    assert found.too_few and found.too_few.startswith(
        "4 real and 4 fake clips of 4 people; figures need 10 of either"
    )
    write_report(tmp_path, evaluation)
    report = (tmp_path / "report.md").read_text()
    assert "| as it is | 4 real, 4 fake | – | – | – |" in report
    assert "- swap: 4 real and 4 fake clips of 4 people" in report
    assert "1.000 [" not in report


@pytest.mark.fast
def test_the_baselines_see_blur() -> None:
    image = np.random.default_rng(0).integers(0, 255, (112, 112, 3)).astype(np.uint8)
    blurred = corrupt_frame(image, Corruption("b", 20, blur_px=2.0), 0)
    assert sharpness_of(blurred) < sharpness_of(image)
    assert jpeg_size_bytes(blurred) < jpeg_size_bytes(image)


@pytest.mark.fast
def test_corruptions_do_what_their_names_say() -> None:
    image = backdrop(100, 121)
    by_name = {corruption.name: corruption for corruption in CORRUPTIONS}
    assert corrupt_frame(image, by_name["half scale"], 0).shape == (50, 60, 3)
    noisy, other = (corrupt_frame(image, by_name["noise 8"], seed) for seed in (0, 1))
    assert (noisy != other).any()
    assert (corrupt_frame(image, by_name["h264 crf 32"], 0) == image).all()


@pytest.mark.fast
@pytest.mark.parametrize(
    ("spelling", "expected"), [("--normalize", True), ("--normalise", True), (None, False)]
)
def test_both_spellings_of_normalize_are_one_option(spelling: str | None, *, expected: bool) -> None:
    parser = argparse.ArgumentParser()
    configure(parser)
    command = ["m.csv", "--output", "out", *([spelling] if spelling else [])]
    assert parser.parse_args(command).normalize is expected


@pytest.mark.triton
def test_evaluation_through_a_server(
    published_server: TritonServer,
    portrait: Portrait,
    *,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = []
    for index in range(4):
        scene = pasted(backdrop(240, 320), portrait.patch, 40 + 20 * index, 50)
        write_clip(tmp_path / f"{index}.mp4", [np.roll(scene, shift, axis=1) for shift in range(6)])
        label = "fake" if index % 2 else "real"
        original = f"{index - 1}.mp4" if index % 2 else ""
        rows.append(ManifestRow(f"{index}.mp4", label, f"p{index}", "s", "m" * (index % 2), original, "test"))  # type: ignore[arg-type]
    write_clip(tmp_path / "faceless.mp4", [backdrop(120, 160)] * 6)
    rows.append(ManifestRow("faceless.mp4", "real", "nobody", "s", "", "", "test"))
    write_manifest(tmp_path / "m.csv", rows)
    command = ["evaluate", str(tmp_path / "m.csv"), "--url", published_server.url, "--frames", "6"]
    assert cli.main([*command, "--output", str(tmp_path / "out"), "--normalise"]) == 0
    report = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert set(report["variants"]) == {AS_IS, *(corruption.name for corruption in CORRUPTIONS)}
    assert report["variants"][AS_IS]["inconclusive_share"] == pytest.approx(0.2)
    assert report["variants"][AS_IS]["pairs"]["pairs"] == 2
    assert set(report["by_manipulation"]) == {"m"} and report["faults"] == {}
    assert "| h264 crf 32 |" in capsys.readouterr().out
    one = ["--output", str(tmp_path / "one"), "--degradation", "half scale, crf 32", "--mirror"]
    assert cli.main([*command, *one]) == 0
    report = json.loads((tmp_path / "one" / "evaluation.json").read_text())
    assert set(report["variants"]) == {AS_IS, "half scale, crf 32", MIRRORED, MIRROR_MEAN}
    found = {(clip["path"], clip["variant"]): clip["fake_probability"] for clip in report["scores"]}
    assert found["0.mp4", MIRRORED] not in (None, found["0.mp4", AS_IS])  # the face has two sides
    assert found["0.mp4", MIRROR_MEAN] == pytest.approx(
        (found["0.mp4", AS_IS] + found["0.mp4", MIRRORED]) / 2
    )
    assert report["mirroring"]["clips"] == 4 and report["scores"][0]["split"] == "test"
    (tmp_path / "0.mp4").unlink()
    assert cli.main([*command, "--output", str(tmp_path / "out2"), "--no-degradations"]) == 1
    assert "0.mp4 (as it is)" in json.loads((tmp_path / "out2" / "evaluation.json").read_text())["faults"]


@pytest.mark.compute
def test_no_rows_and_no_server_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_manifest(tmp_path / "m.csv", [ManifestRow("a.mp4", "real", "p", "s", "", "", "train")])
    command = ["evaluate", str(tmp_path / "m.csv"), "--url", "127.0.0.1:1", "--output", str(tmp_path / "o")]
    assert cli.main(command) == 1
    assert "no video in the split test" in capsys.readouterr().err
    assert cli.main([*command, "--split", "val,transfer-odd"]) == 1
    assert "no video in the split val, transfer-odd" in capsys.readouterr().err
    for refused in ("trian", "val,val", "val,"):
        with pytest.raises(SystemExit, match="2"):
            cli.main([*command, "--split", refused])
    assert "expected one or more of train, val, test, transfer" in capsys.readouterr().err
    assert cli.main([*command, "--split", "train", "--degradation", "crf 99"]) == 1
    assert "got 'crf 99', expected one of 'h264 crf 23'" in capsys.readouterr().err
    assert cli.main([*command, "--split", "all"]) == 1
    assert "127.0.0.1:1" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
