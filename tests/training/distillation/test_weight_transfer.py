"""Weight transfer of a teacher into a ResNeXt: what is exact by construction, and what has to be learned."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from support import backdrop

from deepfake_triton.models.resnext import Bottleneck
from deepfake_triton.training.distillation.student import (
    FrameClassifier,
    build_student,
    initialize_from_teacher,
)
from deepfake_triton.training.distillation.teacher import Teacher
from deepfake_triton.training.distillation.weight_transfer import BLOCK_TRANSFERS, transfer_weights

pytestmark = pytest.mark.compute


def transferred() -> tuple[Teacher, FrameClassifier]:
    teacher, student = Teacher().eval(), build_student(0).eval()
    transfer_weights(teacher.network, student.backbone)
    return teacher, student


def test_a_bottleneck_computes_the_inverted_block_that_it_contains() -> None:
    teacher, student = transferred()
    block = teacher.network._blocks[6]  # 3 × 3, 480 hidden channels, a residual: all of it has room
    block._swish = torch.nn.ReLU()
    values = 3 * torch.randn(2, 80, 7, 7, generator=torch.Generator().manual_seed(0))
    offset = torch.full((80,), 200.0)
    slots = transfer_weights(teacher.network, student.backbone)[
        2
    ]  # what arrives at the transfer, and what leaves
    trunk = torch.rand(2, 1024, 7, 7)  # the other channels must not matter
    trunk[:, slots.channels] = values + slots.offset.reshape(1, -1, 1, 1) + offset.reshape(1, -1, 1, 1)
    bottleneck = student.backbone.layer3[1]
    assert isinstance(bottleneck, Bottleneck) and bottleneck.bn1.running_mean is not None
    with torch.no_grad():
        # Raise the slots further, so that nothing is cut at zero whatever the values are.
        bottleneck.bn1.running_mean[:480] += block._expand_conv.weight[:, :, 0, 0] @ offset
        left = bottleneck(trunk)[:, slots.channels]
        found = left - slots.offset.reshape(1, -1, 1, 1) - offset.reshape(1, -1, 1, 1)
        torch.testing.assert_close(found, block(values), rtol=1e-3, atol=1e-2)


def test_feature_maps_correlate_with_the_teacher_s_after_the_transfer() -> None:
    images = torch.from_numpy(np.stack([backdrop(112, 112, seed) for seed in range(16)]))
    images = images.permute(0, 3, 1, 2).float() / 127.5 - 1
    teacher, student = Teacher().eval(), build_student(0)
    with torch.no_grad():
        wanted = teacher.feature_maps(images)
        distillation = initialize_from_teacher(student, teacher)
        found = student.train().feature_maps(images)
        untrained = build_student(0).train().feature_maps(images)
    for level in range(4):
        channels = distillation.slots[level].channels
        transferred_r, untrained_r = (
            np.corrcoef(maps[level][:, channels].flatten(), wanted[level].flatten())[0, 1]
            for maps in (found, untrained)
        )
        assert transferred_r > abs(untrained_r) + 0.1, (level, transferred_r, untrained_r)


def test_a_distillation_computes_where_the_teacher_is(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = torch.device("meta")
    here, teacher = Teacher().eval(), Teacher().to(elsewhere)
    monkeypatch.setattr(copy, "deepcopy", lambda _: here)  # nothing can be copied from a meta device
    distillation = initialize_from_teacher(build_student(0), teacher)
    assert distillation.teacher is teacher
    assert [slots.offset.device for slots in distillation.slots] == [elsewhere] * 6


def test_every_block_transfer_has_a_target_of_its_own() -> None:
    assert len({transfer.target for transfer in BLOCK_TRANSFERS}) == len(BLOCK_TRANSFERS)
    teacher, student = transferred()
    for transfer in BLOCK_TRANSFERS:
        layer, number = transfer.target
        block = getattr(student.backbone, f"layer{layer}")[number]
        assert block.conv3.weight[transfer.writes].abs().max() > 0
        assert torch.isfinite(torch.cat([p.flatten() for p in block.parameters()])).all()
    assert torch.isfinite(teacher(torch.zeros(1, 3, 112, 112))).all()
