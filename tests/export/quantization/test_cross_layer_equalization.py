from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from deepfake_triton.export.quantization.cross_layer_equalization import equalize_cross_layer
from deepfake_triton.models.checkpoints.checkpoint import checkpoint_from_file
from deepfake_triton.models.resnext import Bottleneck, ResNeXt50
from deepfake_triton.preprocessing.faces import TrackedFaces

pytestmark = pytest.mark.compute


def test_features_stay_and_channel_ranges_become_similar(
    published_checkpoint: Path, tracked_clip: TrackedFaces
) -> None:
    backbone = checkpoint_from_file(published_checkpoint).extractor.backbone
    with torch.no_grad():  # one channel with a wide range, as after a weight transfer
        first_blocks(backbone)[0].bn1.weight[3] *= 50
    images = torch.from_numpy(tracked_clip.faces[0, :8]).permute(0, 3, 1, 2).float() / 255
    equal = equalize_cross_layer(backbone, images)
    with torch.inference_mode():
        wanted, got = backbone(images), equal(images)
    assert (wanted - got).abs().max() < 1e-4 * wanted.abs().max()
    for before, after in zip(spreads(backbone, images), spreads(equal, images), strict=True):
        assert after <= before * 1.01
    assert spreads(equal, images)[0] < 0.5 * spreads(backbone, images)[0]


def spreads(backbone: ResNeXt50, images: torch.Tensor) -> list[float]:
    """The largest range of a channel over the median one, behind the first batch norm of each stage."""
    found: list[float] = []

    def look(_: nn.Module, __: tuple, output: torch.Tensor) -> None:
        ranges = output.clamp(min=0).amax(dim=(0, 2, 3))
        found.append(float(ranges.max() / ranges.median().clamp(min=1e-6)))

    hooks = [block.bn1.register_forward_hook(look) for block in first_blocks(backbone)]
    with torch.inference_mode():
        backbone(images)
    for hook in hooks:
        hook.remove()
    return found


def first_blocks(backbone: ResNeXt50) -> list[Bottleneck]:
    stages = (backbone.layer1, backbone.layer2, backbone.layer3, backbone.layer4)
    return [block for block in (stage[0] for stage in stages) if isinstance(block, Bottleneck)]
