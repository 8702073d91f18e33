"""A teacher laid into a ResNeXt: what is exact by construction, and what has to be learned."""

from __future__ import annotations

import numpy as np
import torch
from support import backdrop

from deepfake_triton.export.backbone import Bottleneck
from deepfake_triton.training.student import FrameClassifier, new_classifier, taught
from deepfake_triton.training.teacher import Teacher
from deepfake_triton.training.transplant import GRAFTS, transplant


def transplanted() -> tuple[Teacher, FrameClassifier]:
    teacher, student = Teacher().eval(), new_classifier(0).eval()
    transplant(teacher.network, student.backbone)
    return teacher, student


def test_a_bottleneck_answers_as_the_inverted_block_that_it_holds() -> None:
    teacher, student = transplanted()
    block = teacher.network._blocks[6]  # 3 × 3, 480 hidden channels, a residual: all of it has room
    block._swish = torch.nn.ReLU()
    values = 3 * torch.randn(2, 80, 7, 7, generator=torch.Generator().manual_seed(0))
    offset = torch.full((80,), 200.0)
    slots = transplant(teacher.network, student.backbone)[2]  # what arrives at the graft, and what leaves
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


def test_a_transplanted_backbone_sees_what_the_teacher_sees() -> None:
    pictures = torch.from_numpy(np.stack([backdrop(112, 112, seed) for seed in range(16)]))
    pictures = pictures.permute(0, 3, 1, 2).float() / 127.5 - 1
    teacher, student = Teacher().eval(), new_classifier(0)
    with torch.no_grad():
        wanted = teacher.maps(pictures)
        distillation = taught(student, teacher)
        found = student.train().maps(pictures)
        stranger = new_classifier(0).train().maps(pictures)
    for level in range(4):
        channels = distillation.slots[level].channels
        alike, apart = (
            np.corrcoef(maps[level][:, channels].flatten(), wanted[level].flatten())[0, 1]
            for maps in (found, stranger)
        )
        assert alike > abs(apart) + 0.1, (level, alike, apart)


def test_every_graft_has_a_place_of_its_own() -> None:
    assert len({graft.target for graft in GRAFTS}) == len(GRAFTS)
    teacher, student = transplanted()
    for graft in GRAFTS:
        layer, number = graft.target
        block = getattr(student.backbone, f"layer{layer}")[number]
        assert block.conv3.weight[graft.writes].abs().max() > 0
        assert torch.isfinite(torch.cat([p.flatten() for p in block.parameters()])).all()
    assert torch.isfinite(teacher(torch.zeros(1, 3, 112, 112))).all()
