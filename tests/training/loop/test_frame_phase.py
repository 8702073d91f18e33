from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from deepfake_triton.models.metadata import ModelMetadata
from deepfake_triton.training.device.generator import TensorBatch
from deepfake_triton.training.distillation.student import build_objective, build_student
from deepfake_triton.training.loop.ema_trainer import EmaTrainer
from deepfake_triton.training.loop.frame_phase import (
    _figures_text,
    _has_bfloat16,
    _WorkersShare,
    images_from_crops,
    mixed_precision,
    set_training,
)
from deepfake_triton.training.loop.run_state import CurvePoint
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


def test_the_average_is_that_of_torch_and_losses_are_read_at_reports() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    decay, device = 0.9, torch.device("cpu")
    trainer = EmaTrainer(model, learning_rate=0.1, weight_decay=0.0, ema_decay=decay, device=device)
    expected = torch.optim.swa_utils.AveragedModel(
        model,
        multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(decay),  # type: ignore[no-untyped-call]
        use_buffers=True,
    )
    losses = []
    for step in range(4):
        loss = (model(torch.randn(5, 2)) ** 2).sum() + step
        losses.append(float(loss.detach()))
        trainer.optimize(loss, 0.1)
        expected.update_parameters(model)
    floats = {name for name, value in expected.state_dict().items() if value.is_floating_point()}
    ours, theirs = trainer.average.state_dict(), expected.state_dict()
    assert floats and list(ours) == list(theirs) and int(ours["n_averaged"]) == 4
    assert all(torch.equal(ours[name], theirs[name]) for name in floats)
    assert trainer.losses == losses
    trainer.clear_losses()
    assert trainer.losses == []


def test_crops_become_images_as_in_the_served_graph() -> None:
    crops = torch.zeros(2, 4, 4, 3, dtype=torch.uint8)
    crops[..., 0], crops[1, ..., 2] = 255, 51
    for order, red in (("rgb", 0), ("bgr", 2)):
        metadata = ModelMetadata(channel_order=order, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))  # type: ignore[arg-type]
        images = images_from_crops(crops, metadata)
        assert images.shape == (2, 3, 4, 4) and images.is_contiguous(memory_format=torch.channels_last)
        assert (images[:, red] == 1).all() and (images[:, 1] == -1).all()
        assert torch.allclose(images[1, 2 - red], torch.tensor(-0.6))


def test_a_report_tells_how_much_the_workers_made() -> None:
    point = CurvePoint("backbone", 9, loss=0.5, val_loss=0.6, val_auc=0.75, learning_rate=1e-3)
    crops, share = torch.zeros(1), _WorkersShare()
    share.add(TensorBatch(crops, crops))
    assert _figures_text(point, share) == "loss 0.500, val AUC 0.750"
    for part in (0.25, 0.0, 0.125):
        share.add(TensorBatch(crops, crops, workers_share=part))
    assert _figures_text(point, share) == "loss 0.500, val AUC 0.750, workers' pairs 12%"
    assert _figures_text(None, share) == ""


def test_losses_are_fp32_under_mixed_precision() -> None:
    student = build_student(0).eval()
    objective = build_objective(student, None, 0.0)
    with torch.autocast("cpu", torch.bfloat16):
        loss = objective(
            torch.randn(2, 3, 64, 64), torch.tensor([0, 1]), coverage=torch.rand(2, 64, 64), progress=0.0
        )
    assert loss.dtype == torch.float32
    assert not mixed_precision(torch.device("cpu"))._enabled or _has_bfloat16()


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
