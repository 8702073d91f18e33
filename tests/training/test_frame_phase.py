from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from deepfake_triton.training.frame_phase import FrameSettings, set_training
from deepfake_triton.training.learner import Learner
from deepfake_triton.training.student import new_classifier, objective_of


def test_normalisations_keep_their_statistics_when_told() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5))
    norm = model[0]
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None
    set_training(model, norms_learn=False)
    model(torch.ones(4, 3, 2, 2))
    assert model[1].training and not norm.running_mean.any()
    set_training(model, norms_learn=True)
    model(torch.ones(4, 3, 2, 2))
    assert norm.running_mean.all()
    assert FrameSettings(steps=1000, norm_share=0.55).norm_step == 550


def test_a_learner_goes_on_from_its_average() -> None:
    model = nn.Linear(2, 1)
    learner = Learner(model, 0.5, 0.0, 0.5, torch.device("cpu"))
    for _ in range(3):
        learner.learn(model(torch.ones(1, 2)).sum(), 0.5)
    averaged = learner.average.module
    assert isinstance(averaged, nn.Linear) and not torch.equal(model.weight, averaged.weight)
    learner.begin_from_average()
    assert torch.equal(model.weight, averaged.weight)


def test_the_places_of_a_forgery_count_in_the_loss() -> None:
    student = new_classifier(0).eval()
    objective = objective_of(student, None, 0.0)
    pictures, labels = torch.randn(2, 3, 64, 64), torch.tensor([0, 1])
    forged = torch.zeros(2, 64, 64)
    forged[1, 16:48, 16:48] = 1
    assert student.where_score.bias is not None
    with torch.no_grad():
        student.where_score.bias.fill_(0.0)
        bare = objective(pictures, labels, None, 0.0)
        at_first = objective(pictures, labels, forged, 0.0) - bare
        student.where_score.bias.fill_(-8.0)
        blind = objective(pictures, labels, forged, 0.0) - bare
    assert float(at_first) == pytest.approx(np.log(2), abs=1e-4)
    assert float(blind) == pytest.approx(8 * float(forged.mean()), abs=1e-2)  # missed by 8 logits
