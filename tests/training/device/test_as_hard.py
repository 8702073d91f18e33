"""Pairs of the device are as hard as those of the CPU for the shipped weights."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from paths import SHARED
from torch import Tensor

from deepfake_triton.classification_metrics import roc_auc
from deepfake_triton.dataset_manifest import ManifestRow
from deepfake_triton.models.checkpoints.checkpoint import Checkpoint
from deepfake_triton.models.default_checkpoint import default_checkpoint
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.training.augmentation.pair_options import PairOptions
from deepfake_triton.training.device.drawing import PairDrawer
from deepfake_triton.training.device.generator import PairGenerator, TensorBatch
from deepfake_triton.training.device.portrait_bank import build_bank
from deepfake_triton.training.faces.portraits import extract_portraits
from deepfake_triton.training.samples.sources import ForgedData

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


def margins(checkpoint: Checkpoint, crops: Tensor) -> npt.NDArray[np.float64]:
    with torch.inference_mode():
        logits = [
            checkpoint.classifier(checkpoint.extractor(part[:, None]))[0] for part in torch.split(crops, 32)
        ]
    scores = torch.cat(logits).double()
    return np.asarray((scores[:, 1] - scores[:, 0]).numpy())


def test_the_shipped_weights_find_both_generators_pairs_as_hard(detector: Runner) -> None:
    """With 70 pairs each, an AUC of 0.85 has a standard error of 0.035: the band is four of them."""
    manifest = SHARED / "faces" / "manifest.csv"
    if not manifest.is_file():
        pytest.skip("no photos of people beside this checkout")
    rows = [row for row in csv.DictReader(manifest.open()) if row["split"] == "val"][::12]
    listed = [ManifestRow(row["file"], "real", row["identity"], "s", "", "", "val") for row in rows]
    portraits, _ = extract_portraits(listed[:24], Path(manifest.parent), detector)
    checkpoint = default_checkpoint()
    rule = CropRule(checkpoint.metadata.crop_side, checkpoint.metadata.crop_margin)
    cpu = ForgedData(portraits, rule, num_frames=1, seed=0).load_batch(0, 70, 1.0)
    bank = build_bank(portraits, CPU)
    drawn = PairDrawer(bank.faces, rule, PairOptions()).draw(np.random.default_rng(0), 70, 1.0)
    made: TensorBatch = PairGenerator(bank, rule).make(drawn)
    theirs = roc_auc(margins(checkpoint, torch.from_numpy(cpu.crops)), cpu.labels)
    ours = roc_auc(margins(checkpoint, made.crops), made.labels.numpy())
    assert theirs > 0.7 and ours == pytest.approx(theirs, abs=0.14)
