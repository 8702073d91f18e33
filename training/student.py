"""The backbone while it learns from single crops, and what a teacher adds to that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deepfake_triton.contracts import FEATURE_SIZE
from deepfake_triton.export.backbone import Bottleneck, ResNeXt50
from deepfake_triton.training.map_classifier import MapClassifier
from deepfake_triton.training.teacher import Teacher
from deepfake_triton.training.transplant import HEAD_SLOTS, Slots, transplant

_SMALLEST_VARIANCE = 1e-2
_WHERE_MAP, _WHERE_CHANNELS, _WHERE_WEIGHT = 3, 1024, 1.0


class FrameClassifier(MapClassifier):
    """The backbone with heads of its own for this phase: normalised pictures to logits [N, 2]."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = ResNeXt50()
        self.head = nn.Linear(FEATURE_SIZE, 2)
        self.where_norm = nn.BatchNorm2d(_WHERE_CHANNELS)
        self.where_score = nn.Conv2d(_WHERE_CHANNELS, 1, 1)

    def maps(self, pictures: Tensor) -> list[Tensor]:
        """Feature maps at the strides 4, 8, 16, 16, 32 and 32, where the teacher has its own."""
        net = self.backbone
        quarter = net.layer1(net.maxpool(net.relu(net.bn1(net.conv1(pictures)))))
        eighth = net.layer2(quarter)
        middle = net.layer3[:3](eighth)
        sixteenth = net.layer3[3:](middle)
        late = net.layer4[:2](sixteenth)
        return [quarter, eighth, middle, sixteenth, late, net.layer4[2](late)]

    def where(self, maps: list[Tensor]) -> Tensor:
        """Logits [N, 1, S / 16, S / 16] of each place being forged."""
        logits: Tensor = self.where_score(self.where_norm(maps[_WHERE_MAP]))
        return logits


def new_classifier(seed: int) -> FrameClassifier:
    """Random weights by seed; each block starts as its shortcut alone (Goyal et al., 2017)."""
    torch.manual_seed(seed)
    model = FrameClassifier()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(module, Bottleneck):
            nn.init.zeros_(module.bn3.weight)
    nn.init.zeros_(model.where_score.weight)
    return model


@dataclass(frozen=True)
class Distillation:
    """A tuned teacher, where its maps stand in the student's, and how much its hints and its opinion count
    beside the labels; the hints fade out over `hint_share` of the steps."""

    teacher: Teacher
    slots: list[Slots]
    hint_weight: float = 3.0
    hint_share: float = 0.6
    opinion_weight: float = 1.0
    temperature: float = 2.0

    def loss(self, maps: list[Tensor], logits: Tensor, pictures: Tensor, done: float) -> Tensor:
        """How far the student's maps and logits are from the teacher's, a share `done` of the steps over."""
        with torch.no_grad():
            shown = self.teacher.maps(pictures)
            opinion = self.teacher.logits_of(shown)
        t = self.temperature
        agree = nn.functional.kl_div(
            nn.functional.log_softmax(logits / t, dim=1),
            nn.functional.softmax(opinion.float() / t, dim=1),
            reduction="batchmean",
        )
        weight = self.hint_weight * max(0.0, 1 - done / self.hint_share)
        if not weight:
            return self.opinion_weight * t * t * agree
        hints = torch.stack(
            [
                _distance(own, slots, wanted)
                for own, slots, wanted in zip(maps, self.slots, shown, strict=True)
            ]
        )
        return weight * hints.mean() + self.opinion_weight * t * t * agree


def _distance(own: Tensor, slots: Slots, wanted: Tensor) -> Tensor:
    """Mean square between the map [N, C, H, W] in its slots and the teacher's, in the latter's variance."""
    values = own[:, slots.channels].float() - slots.offset.to(own.device).reshape(1, -1, 1, 1)
    wanted = wanted.float()
    return ((values - wanted) ** 2).mean() / (wanted.var() + _SMALLEST_VARIANCE)


def taught(student: FrameClassifier, teacher: Teacher) -> Distillation:
    """Lay the teacher's weights into the student, from where the student goes on learning."""
    slots = transplant(teacher.network, student.backbone)
    with torch.no_grad():
        student.head.weight.zero_()
        student.head.weight[:, HEAD_SLOTS] = teacher.head.weight
        student.head.bias.copy_(teacher.head.bias)
    return Distillation(teacher, slots)


Objective = Callable[[Tensor, Tensor, Tensor | None, float], Tensor]
"""Loss of normalised pictures [N, 3, S, S], labels [N] and forged shares [N, S, S] (0…1; None where they are
not known) when that share of the steps is done."""


def objective_of(
    student: FrameClassifier, distillation: Distillation | None, label_smoothing: float
) -> Objective:
    """The labels' cross-entropy, that of each place's forged share, and what the teacher adds.

    A label is one bit a picture; the places (7 × 7 of them at 112 px) say what it is about. The idea is that
    of Face X-ray (Li et al., CVPR 2020), with the forged region in place of its border.
    """

    def objective(pictures: Tensor, labels: Tensor, forged: Tensor | None, done: float) -> Tensor:
        maps = student.maps(pictures)
        logits = student.logits_of(maps).float()
        loss = nn.functional.cross_entropy(logits, labels, label_smoothing=label_smoothing)
        if forged is not None:
            loss = loss + _WHERE_WEIGHT * _where_loss(student.where(maps), forged)
        return loss + distillation.loss(maps, logits, pictures, done) if distillation else loss

    return objective


def _where_loss(seen: Tensor, forged: Tensor) -> Tensor:
    """Cross-entropy of the map [N, 1, h, w] and the forged shares [N, S, S] averaged over its cells."""
    shares = nn.functional.adaptive_avg_pool2d(forged[:, None], (seen.shape[2], seen.shape[3]))
    return nn.functional.binary_cross_entropy_with_logits(seen.float(), shares)
