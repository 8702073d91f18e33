"""ResNeXt-50 32x4d up to its pooled features, with torchvision's parameter names.

Xie et al., *Aggregated Residual Transformations for Deep Neural Networks*, CVPR 2017.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

CARDINALITY = 32
GROUP_WIDTH = 4
EXPANSION = 4


class Bottleneck(nn.Module):
    """Residual block of a 1×1, a grouped 3×3 and a 1×1 convolution."""

    def __init__(self, in_channels: int, planes: int, stride: int) -> None:
        super().__init__()
        width = planes * GROUP_WIDTH * CARDINALITY // 64
        out_channels = planes * EXPANSION
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, groups=CARDINALITY, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, 4 * planes, H / stride, W / stride] for `x` [N, C, H, W] float32."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        out: Tensor = self.relu(self.bn3(self.conv3(x)) + shortcut)
        return out


class ResNeXt50(nn.Module):
    """Backbone from normalized images [N, 3, H, W] float32 to pooled features [N, 2048]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _build_stage(64, planes=64, blocks=3, stride=1)
        self.layer2 = _build_stage(256, planes=128, blocks=4, stride=2)
        self.layer3 = _build_stage(512, planes=256, blocks=6, stride=2)
        self.layer4 = _build_stage(1024, planes=512, blocks=3, stride=2)
        self.avgpool: nn.Module = nn.AdaptiveAvgPool2d(1)

    def stages(self) -> list[list[Bottleneck]]:
        """Return the bottlenecks by stage, in execution order; feature maps of one stage have one size."""
        layers = (self.layer1, self.layer2, self.layer3, self.layer4)
        return [[block for block in layer if isinstance(block, Bottleneck)] for layer in layers]

    def forward(self, x: Tensor) -> Tensor:
        """Return pooled features [N, 2048] of normalized images [N, 3, H, W]."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return torch.flatten(self.avgpool(x), 1)


def _build_stage(in_channels: int, *, planes: int, blocks: int, stride: int) -> nn.Sequential:
    first = Bottleneck(in_channels, planes, stride)
    return nn.Sequential(first, *(Bottleneck(planes * EXPANSION, planes, 1) for _ in range(blocks - 1)))
