from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from deepfake_triton.export.backbone import Bottleneck, ResNeXt50
from deepfake_triton.export.checkpoint import checkpoint_from_file
from deepfake_triton.export.equalisation import equalised
from deepfake_triton.preprocessing.faces import TrackedFaces


def test_features_stay_and_channels_come_together(
    published_checkpoint: Path, tracked_clip: TrackedFaces
) -> None:
    backbone = checkpoint_from_file(published_checkpoint).extractor.backbone
    with torch.no_grad():  # one channel that reaches far, as after a transplant
        first_blocks(backbone)[0].bn1.weight[3] *= 50
    pictures = torch.from_numpy(tracked_clip.faces[0, :8]).permute(0, 3, 1, 2).float() / 255
    equal = equalised(backbone, pictures)
    with torch.inference_mode():
        wanted, got = backbone(pictures), equal(pictures)
    assert (wanted - got).abs().max() < 1e-4 * wanted.abs().max()
    for before, after in zip(spreads(backbone, pictures), spreads(equal, pictures), strict=True):
        assert after <= before * 1.01
    assert spreads(equal, pictures)[0] < 0.5 * spreads(backbone, pictures)[0]


def spreads(backbone: ResNeXt50, pictures: torch.Tensor) -> list[float]:
    """The largest reach of a channel over the median one, behind the first normalisation of each stage."""
    found: list[float] = []

    def look(_: nn.Module, __: tuple, output: torch.Tensor) -> None:
        reach = output.clamp(min=0).amax(dim=(0, 2, 3))
        found.append(float(reach.max() / reach.median().clamp(min=1e-6)))

    hooks = [block.bn1.register_forward_hook(look) for block in first_blocks(backbone)]
    with torch.inference_mode():
        backbone(pictures)
    for hook in hooks:
        hook.remove()
    return found


def first_blocks(backbone: ResNeXt50) -> list[Bottleneck]:
    stages = (backbone.layer1, backbone.layer2, backbone.layer3, backbone.layer4)
    return [block for block in (stage[0] for stage in stages) if isinstance(block, Bottleneck)]
