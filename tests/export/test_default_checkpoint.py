"""The weights that ship with the project: what they say of themselves, and that they tell fakes apart."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from deepfake_triton import cli
from deepfake_triton.contracts import FAKE, REAL
from deepfake_triton.errors import CheckpointError
from deepfake_triton.export import default_checkpoint as shipped
from deepfake_triton.export.runners import Runner, TorchRunner
from deepfake_triton.manifest import ManifestRow
from deepfake_triton.metrics import roc_auc
from deepfake_triton.training.portraits import portraits_of_rows
from deepfake_triton.training.samples import PairSampler

FACES = Path(__file__).resolve().parents[3] / "shared" / "faces"


def test_it_says_what_it_is() -> None:
    checkpoint = shipped.default_checkpoint()
    assert (checkpoint.weights, checkpoint.layout) == ("default", "deepfake-triton")
    facts = checkpoint.facts
    assert (facts.temporal, facts.pooling, facts.label_order) == ("sequence", "mean", "real-fake")
    assert facts.operating_points["balanced"] == 0.5 < facts.operating_points["conservative"] < 1
    assert shipped.DEFAULT_CHECKPOINT.stat().st_size <= 60_000_000
    changed = shipped.default_checkpoint({"pooling": "last", "mean": None})
    assert changed.weights == "custom" and changed.facts.pooling == "last"


def test_where_it_is_not_installed_the_error_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shipped, "DEFAULT_CHECKPOINT", tmp_path / "default_checkpoint.safetensors")
    with pytest.raises(CheckpointError, match="not installed here; name a --checkpoint"):
        shipped.default_checkpoint()


def test_export_takes_it_when_nothing_is_named(default_repository: Path) -> None:
    report = json.loads((default_repository / "export_report.json").read_text())
    assert report["checkpoint"]["weights"] == "default"
    assert 'key: "weights"' in (default_repository / "deepfake_detector" / "config.pbtxt").read_text()


def test_two_sources_of_weights_at_once_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["export", "--untrained", "--checkpoint", "x.pt", "--output", str(tmp_path / "r")])
    assert ended.value.code == 2


@pytest.mark.skipif(not FACES.is_dir(), reason="no portraits beside the checkout to judge on")
def test_it_tells_twins_of_people_whom_it_never_saw(detector: Runner) -> None:
    with (FACES / "manifest.csv").open() as file:
        listed = [row for row in csv.DictReader(file) if row["split"] == "test"][::6]
    rows = [ManifestRow(row["file"], "real", row["identity"], "", "", "", "test") for row in listed]
    portraits, _ = portraits_of_rows(rows, FACES, detector)
    assert len(portraits) > 18
    checkpoint = shipped.default_checkpoint()
    run, sampler = TorchRunner(checkpoint), PairSampler(portraits, checkpoint.facts.crop_rule)
    scores, labels = [], []
    for seed, portrait in enumerate(portraits):
        pair = sampler.clip(np.random.default_rng([99, seed]), portrait, 8, degradation_amount=0.5)
        for label, faces in ((REAL, pair.real), (FAKE, pair.fake)):
            scores.append(float(run.infer({"faces": faces[None]})["fake_probability"][0, 0]))
            labels.append(label)
    assert roc_auc(np.array(scores), np.array(labels)) > 0.85
