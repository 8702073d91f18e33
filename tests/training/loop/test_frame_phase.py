from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from deepfake_triton.training.distillation.student import build_objective, build_student
from deepfake_triton.training.loop.ema_trainer import EmaTrainer
from deepfake_triton.training.loop.frame_phase import set_training
from deepfake_triton.training.loop.settings import FrameSettings

pytestmark = pytest.mark.compute


def test_batch_norms_keep_their_statistics_when_told() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5))
    norm = model[0]
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None
    set_training(model, update_norms=False)
    model(torch.ones(4, 3, 2, 2))
    assert model[1].training and not norm.running_mean.any()
    set_training(model, update_norms=True)
    model(torch.ones(4, 3, 2, 2))
    assert norm.running_mean.all()
    assert FrameSettings(steps=1000, norm_share=0.55).norm_step == 550


def test_a_trainer_continues_from_its_average() -> None:
    model = nn.Linear(2, 1)
    trainer = EmaTrainer(
        model, learning_rate=0.5, weight_decay=0.0, ema_decay=0.5, device=torch.device("cpu")
    )
    for _ in range(3):
        trainer.optimize(model(torch.ones(1, 2)).sum(), 0.5)
    averaged = trainer.average.module
    assert isinstance(averaged, nn.Linear) and not torch.equal(model.weight, averaged.weight)
    trainer.load_average()
    assert torch.equal(model.weight, averaged.weight)


def test_mask_coverage_counts_in_the_loss() -> None:
    student = build_student(0).eval()
    objective = build_objective(student, None, 0.0)
    images, labels = torch.randn(2, 3, 64, 64), torch.tensor([0, 1])
    coverage = torch.zeros(2, 64, 64)
    coverage[1, 16:48, 16:48] = 1
    assert student.where_score.bias is not None
    with torch.no_grad():
        student.where_score.bias.fill_(0.0)
        bare = objective(images, labels, coverage=None, progress=0.0)
        at_first = objective(images, labels, coverage=coverage, progress=0.0) - bare
        student.where_score.bias.fill_(-8.0)
        blind = objective(images, labels, coverage=coverage, progress=0.0) - bare
    assert float(at_first) == pytest.approx(np.log(2), abs=1e-4)
    assert float(blind) == pytest.approx(8 * float(coverage.mean()), abs=1e-2)  # missed by 8 logits
