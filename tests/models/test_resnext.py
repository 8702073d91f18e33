from __future__ import annotations

import pytest
import torch

from deepfake_triton.models.resnext import ResNeXt50

pytestmark = pytest.mark.compute

# Of torchvision's resnext50_32x4d: 25,028,904 parameters, 2,049,000 of them in its last layer.
TORCHVISION_PARAMETERS_WITHOUT_FC = 25_028_904 - 2_049_000


def test_size_and_names_are_torchvisions() -> None:
    network = ResNeXt50()
    assert sum(p.numel() for p in network.parameters()) == TORCHVISION_PARAMETERS_WITHOUT_FC
    state = network.state_dict()
    assert len([key for key in state if not key.endswith("num_batches_tracked")]) == 265
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    assert shapes["conv1.weight"] == (64, 3, 7, 7)
    assert shapes["layer1.0.conv2.weight"] == (128, 4, 3, 3)
    assert shapes["layer1.0.downsample.0.weight"] == (256, 64, 1, 1)
    assert shapes["layer3.5.conv2.weight"] == (512, 16, 3, 3)
    assert shapes["layer4.2.bn3.running_var"] == (2048,)
    assert "layer1.1.downsample.0.weight" not in shapes


def test_strides_give_a_thirty_second_of_the_side() -> None:
    network = ResNeXt50().eval()
    seen: dict[str, torch.Size] = {}
    network.layer4.register_forward_hook(lambda _module, _inputs, output: seen.update(shape=output.shape))
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, 112, 112)).shape == (2, 2048)
    assert tuple(seen["shape"]) == (2, 2048, 4, 4)
