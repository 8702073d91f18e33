"""The generator and the trainer on a GPU: the CPU's pictures, and no step that waits for the device."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from drawn_portraits import drawn_portraits

from deepfake_triton.models.metadata import ModelMetadata
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.training.augmentation.pair_options import AUGMENTATIONS, PairOptions
from deepfake_triton.training.device.drawing import PairDrawer
from deepfake_triton.training.device.generator import PairGenerator
from deepfake_triton.training.device.pair_table import PairTable
from deepfake_triton.training.device.portrait_bank import build_bank
from deepfake_triton.training.distillation.student import build_objective, build_student
from deepfake_triton.training.loop.ema_trainer import EmaTrainer
from deepfake_triton.training.loop.frame_phase import images_from_crops, mixed_precision, set_training

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here"),
]

RULE = CropRule(64, 0.05)


def drawn(pairs: int, seed: int = 0) -> PairTable:
    faces = build_bank(drawn_portraits(3), torch.device("cpu")).faces
    options = PairOptions(frozenset(AUGMENTATIONS))
    return PairDrawer(faces, RULE, options).draw(np.random.default_rng(seed), pairs, 1.0)


def generator(device: str) -> PairGenerator:
    return PairGenerator(build_bank(drawn_portraits(3), torch.device(device)), RULE)


def test_both_devices_make_the_same_pairs() -> None:
    table = drawn(20)
    for name in ("noise", "forged_noise"):
        table[name][...] = 0
    on_cpu, on_gpu = (generator(device).make(table) for device in ("cpu", "cuda"))
    difference = (on_cpu.crops.float() - on_gpu.crops.cpu().float()).abs()
    assert difference.mean() < 0.5 and difference.mean((1, 2, 3)).max() < 3
    assert on_cpu.mask_coverage is not None and on_gpu.mask_coverage is not None
    coverage = (on_cpu.mask_coverage.float() - on_gpu.mask_coverage.cpu().float()).abs()
    assert coverage.mean() < 0.5


def test_no_step_waits_for_the_device() -> None:
    device = torch.device("cuda")
    made, tables = generator("cuda"), [drawn(20, seed) for seed in range(4)]
    model = build_student(0)
    trainer = EmaTrainer(model, learning_rate=1e-4, weight_decay=0.02, ema_decay=0.99, device=device)
    objective = build_objective(model, None, 0.03)
    metadata = ModelMetadata(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

    def step(table: PairTable) -> None:
        batch = made.make(table)
        set_training(model, update_norms=True)
        torch.manual_seed(0)
        assert batch.mask_coverage is not None
        with mixed_precision(device):
            images = images_from_crops(batch.crops, metadata)
            loss = objective(images, batch.labels, coverage=batch.mask_coverage / 255, progress=0.0)
        trainer.optimize(loss, 1e-4)

    step(tables[0])  # the first one loads kernels and constants
    torch.cuda.set_sync_debug_mode("error")
    try:
        for table in tables[1:]:
            step(table)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(np.isfinite(loss) for loss in trainer.losses) and len(trainer.losses) == 4
