"""A step on a device without values: whatever would read one back, and so wait for a GPU, fails here."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from drawn_portraits import drawn_portraits
from torch import Tensor

from deepfake_triton.models.metadata import ModelMetadata
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.training.augmentation.pair_options import AUGMENTATIONS, PairOptions
from deepfake_triton.training.device.drawing import PairDrawer
from deepfake_triton.training.device.generator import PairGenerator
from deepfake_triton.training.device.portrait_bank import build_bank
from deepfake_triton.training.distillation.student import build_objective, build_student
from deepfake_triton.training.loop.ema_trainer import EmaTrainer
from deepfake_triton.training.loop.frame_phase import images_from_crops, set_training

pytestmark = pytest.mark.compute

META = torch.device("meta")
_randn = torch.randn


class _NoGenerator:
    """Random numbers of a device that has none."""

    def __init__(self, device: torch.device) -> None:
        assert device == META

    def manual_seed(self, seed: int) -> _NoGenerator:
        del seed
        return self


def _without_values(*shape: int, generator: object, device: torch.device) -> Tensor:
    del generator
    return _randn(*shape, device=device)


def test_no_step_reads_a_value_or_mixes_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "Generator", _NoGenerator)
    monkeypatch.setattr(torch, "randn", _without_values)
    rule = CropRule(64, 0.05)
    bank = build_bank(drawn_portraits(3), META)
    drawer = PairDrawer(bank.faces, rule, PairOptions(frozenset(AUGMENTATIONS)))
    table = drawer.draw(np.random.default_rng(0), 60, 1.0)
    for name in ("motion_blur", "earlier_quality", "is_swap", "jpeg_quality", "h264_crf"):
        assert table[name].any()
    batch = PairGenerator(bank, rule).make(table)
    assert batch.crops.shape == (120, 64, 64, 3) and batch.crops.device == META
    assert batch.mask_coverage is not None and batch.mask_coverage.shape == (120, 64, 64)
    model = build_student(0)
    trainer = EmaTrainer(model, learning_rate=1e-4, weight_decay=0.02, ema_decay=0.99, device=META)
    objective = build_objective(model, None, 0.03)
    for _ in range(2):
        set_training(model, update_norms=True)
        images = images_from_crops(batch.crops, ModelMetadata(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)))
        loss = objective(images, batch.labels, coverage=batch.mask_coverage / 255, progress=0.0)
        trainer.optimize(loss, 1e-4)
    assert trainer.step == 2
    with pytest.raises((NotImplementedError, RuntimeError)):
        _ = trainer.losses  # reading them does
