"""Student: the backbone with its heads for single crops, and the training objective with distillation."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor, nn

from deepfake_triton.contracts import FEATURE_SIZE
from deepfake_triton.models.resnext import Bottleneck, ResNeXt50
from deepfake_triton.training.distillation.feature_map_classifier import FeatureMapClassifier
from deepfake_triton.training.distillation.teacher import Teacher
from deepfake_triton.training.distillation.weight_transfer import HEAD_SLOTS, Slots, transfer_weights

_MIN_VARIANCE = 1e-2
_COVERAGE_MAP, _COVERAGE_CHANNELS, _COVERAGE_WEIGHT = 3, 1024, 1.0


class FrameClassifier(FeatureMapClassifier):
    """Backbone with the heads of this phase: normalized images [N, 3, S, S] to logits [N, 2]."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = ResNeXt50()
        self.head = nn.Linear(FEATURE_SIZE, 2)
        # These two names are keys of the states of interrupted runs.
        self.where_norm = nn.BatchNorm2d(_COVERAGE_CHANNELS)
        self.where_score = nn.Conv2d(_COVERAGE_CHANNELS, 1, 1)

    def feature_maps(self, images: Tensor) -> list[Tensor]:
        """Return feature maps at strides 4, 8, 16, 16, 32 and 32, matching those of the teacher."""
        net = self.backbone
        quarter = net.layer1(net.maxpool(net.relu(net.bn1(net.conv1(images)))))
        eighth = net.layer2(quarter)
        middle = net.layer3[:3](eighth)
        sixteenth = net.layer3[3:](middle)
        late = net.layer4[:2](sixteenth)
        return [quarter, eighth, middle, sixteenth, late, net.layer4[2](late)]

    def coverage_logits(self, feature_maps: list[Tensor]) -> Tensor:
        """Return logits [N, 1, S / 16, S / 16] of each cell being forged."""
        logits: Tensor = self.where_score(self.where_norm(feature_maps[_COVERAGE_MAP]))
        return logits


def build_student(seed: int) -> FrameClassifier:
    """Build a student with random weights; each block starts as its shortcut alone (Goyal et al., 2017)."""
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
    """A fine-tuned teacher, the slots of its feature maps in the student's, and the weights of its losses.

    The hint loss fades out over the first `hint_share` of training; the soft-label loss stays.
    """

    teacher: Teacher
    slots: list[Slots]
    hint_weight: float = 3.0
    hint_share: float = 0.6
    soft_label_weight: float = 1.0
    temperature: float = 2.0

    def loss(self, feature_maps: list[Tensor], logits: Tensor, *, images: Tensor, progress: float) -> Tensor:
        """Return the hint and soft-label loss of the student's feature maps and logits [N, 2].

        `progress` (0…1) is the fraction of training that is over.
        """
        with torch.no_grad():
            hints = self.teacher.feature_maps(images)
            soft_labels = self.teacher.logits_from_feature_maps(hints)
        t = self.temperature
        divergence = nn.functional.kl_div(
            nn.functional.log_softmax(logits / t, dim=1),
            nn.functional.softmax(soft_labels.float() / t, dim=1),
            reduction="batchmean",
        )
        weight = self.hint_weight * max(0.0, 1 - progress / self.hint_share)
        if not weight:
            return self.soft_label_weight * t * t * divergence
        distances = torch.stack(
            [
                _hint_distance(own, slots, hint)
                for own, slots, hint in zip(feature_maps, self.slots, hints, strict=True)
            ]
        )
        return weight * distances.mean() + self.soft_label_weight * t * t * divergence


def _hint_distance(own: Tensor, slots: Slots, hint: Tensor) -> Tensor:
    """Return the mean squared error of a feature map's slots to the hint.

    Both are [N, C, H, W]; the error is relative to the hint's variance.
    """
    values = own[:, slots.channels].float() - slots.offset.reshape(1, -1, 1, 1)
    hint = hint.float()
    return ((values - hint) ** 2).mean() / (hint.var() + _MIN_VARIANCE)


def initialize_from_teacher(student: FrameClassifier, teacher: Teacher) -> Distillation:
    """Copy the teacher's weights into the student, and return the distillation that trains it further.

    The student is on the CPU still; the distillation computes on the teacher's device.
    """
    device, here = next(teacher.parameters()).device, copy.deepcopy(teacher).cpu()
    slots = transfer_weights(here.network, student.backbone)
    with torch.no_grad():
        student.head.weight.zero_()
        student.head.weight[:, HEAD_SLOTS] = here.head.weight
        student.head.bias.copy_(here.head.bias)
    return Distillation(teacher, [replace(one, offset=one.offset.to(device)) for one in slots])


class Objective(Protocol):
    """Training loss of one network."""

    def __call__(self, images: Tensor, labels: Tensor, *, coverage: Tensor | None, progress: float) -> Tensor:
        """Return the loss of normalized images [N, 3, S, S] and labels [N] int64 (1 is fake).

        `coverage` [N, S, S] is the mask coverage in 0…1, None where it is unknown; `progress` (0…1) is the
        fraction of training that is over.
        """
        ...


def build_objective(
    student: FrameClassifier, distillation: Distillation | None, label_smoothing: float
) -> Objective:
    """Build the sum of the label loss, the mask-coverage loss and the distillation loss.

    A label is one bit per image; mask coverage (7 × 7 cells at 112 px) also tells what it is about. The idea
    is that of Face X-ray (Li et al., CVPR 2020), with the forged region in place of its boundary.
    """

    def objective(images: Tensor, labels: Tensor, *, coverage: Tensor | None, progress: float) -> Tensor:
        feature_maps = student.feature_maps(images)
        logits = student.logits_from_feature_maps(feature_maps).float()
        loss = nn.functional.cross_entropy(logits, labels, label_smoothing=label_smoothing)
        if coverage is not None:
            loss = loss + _COVERAGE_WEIGHT * _coverage_loss(student.coverage_logits(feature_maps), coverage)
        if distillation is None:
            return loss
        return loss + distillation.loss(feature_maps, logits, images=images, progress=progress)

    return objective


def _coverage_loss(logits: Tensor, coverage: Tensor) -> Tensor:
    """Return the cross-entropy of coverage `logits` [N, 1, h, w].

    The target is the coverage [N, S, S] in 0…1, averaged over the cells.
    """
    cells = nn.functional.adaptive_avg_pool2d(coverage[:, None], (logits.shape[2], logits.shape[3]))
    return nn.functional.binary_cross_entropy_with_logits(logits.float(), cells)
