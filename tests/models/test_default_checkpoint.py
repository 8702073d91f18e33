"""The weights that ship with the project: what they say of themselves, and that they tell fakes apart."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from paths import SHARED

from deepfake_triton import cli
from deepfake_triton.classification_metrics import roc_auc
from deepfake_triton.contracts import FAKE, REAL
from deepfake_triton.dataset_manifest import ManifestRow
from deepfake_triton.errors import CheckpointError
from deepfake_triton.models import default_checkpoint as shipped
from deepfake_triton.models.metadata_overrides import MetadataOverrides
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.models.runtimes.torch_runner import torch_classifier, torch_extractor
from deepfake_triton.training.augmentation.pairs import PairSampler
from deepfake_triton.training.faces.portraits import extract_portraits

pytestmark = pytest.mark.compute

FACES = SHARED / "faces"


def test_it_says_what_it_is() -> None:
    checkpoint = shipped.default_checkpoint()
    assert (checkpoint.weights, checkpoint.layout) == ("default", "deepfake-triton")
    metadata = checkpoint.metadata
    assert (metadata.temporal, metadata.pooling, metadata.label_order) == ("sequence", "mean", "real-fake")
    fake, real = metadata.operating_points, metadata.real_at_most
    assert set(fake) == set(real) == {"balanced", "conservative"}
    assert 0 < real["conservative"] <= real["balanced"] <= fake["balanced"] <= fake["conservative"] < 1
    assert shipped.DEFAULT_CHECKPOINT.stat().st_size <= 60_000_000
    changed = shipped.default_checkpoint(MetadataOverrides(pooling="last", mean=None))
    assert changed.weights == "custom" and changed.metadata.pooling == "last"


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
def test_it_tells_fakes_of_people_it_was_not_trained_on(detector: Runner) -> None:
    with (FACES / "manifest.csv").open() as file:
        listed = [row for row in csv.DictReader(file) if row["split"] == "test"][::6]
    rows = [ManifestRow(row["file"], "real", row["identity"], "", "", "", "test") for row in listed]
    portraits, _ = extract_portraits(rows, FACES, detector)
    assert len(portraits) > 18
    checkpoint = shipped.default_checkpoint()
    extractor, classifier = torch_extractor(checkpoint), torch_classifier(checkpoint)
    sampler = PairSampler(portraits, checkpoint.metadata.crop_rule)
    scores, labels = [], []
    for seed, portrait in enumerate(portraits):
        pair = sampler.draw_clip(np.random.default_rng([99, seed]), portrait, 8, degradation_amount=0.5)
        for label, faces in ((REAL, pair.real), (FAKE, pair.fake)):
            features = extractor.infer({"faces": faces[None]})
            scores.append(float(classifier.infer(features)["fake_probability"][0, 0]))
            labels.append(label)
    assert roc_auc(np.array(scores), np.array(labels)) > 0.85
