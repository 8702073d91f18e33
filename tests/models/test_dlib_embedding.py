"""dlib's face embedding, serialized here with INT8 weights, against the same network in torch."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional

from deepfake_triton.errors import CheckpointError
from deepfake_triton.models.dlib_embedding import MEAN_RGB, SIDE, onnx_from_dlib

pytestmark = pytest.mark.fast

BLOCKS = [(32, 1)] * 3 + [(64, 2)] + [(64, 1)] * 3 + [(128, 2)] + [(128, 1)] * 2 + [(256, 2)]
BLOCKS += [(256, 1)] * 2 + [(256, 2)]
"""Filters and stride of each block of two convolutions, from the input on."""


class Network(nn.Module):
    """As dlib's example of face recognition defines it."""

    def __init__(self) -> None:
        super().__init__()
        generator, channels = torch.Generator().manual_seed(3), 3
        shapes = [(32, 7, 2)]
        for filters, stride in BLOCKS:
            shapes += [(filters, 3, stride), (filters, 3, 1)]
        self.convolutions: list[nn.Conv2d] = []
        self.affines: list[tuple[torch.Tensor, torch.Tensor]] = []
        for filters, side, stride in shapes:
            layer = nn.Conv2d(channels, filters, side, stride, padding=side // 2 if stride == 1 else 0)
            whole = torch.randint(-127, 128, layer.weight.shape, generator=generator).float()
            whole[:, 0, 0, 0] = 127
            layer.weight.data = whole / 74 / (channels * side**2) ** 0.5
            layer.bias = nn.Parameter(torch.randn(filters, generator=generator) / 10)
            self.convolutions.append(layer)
            self.affines.append((torch.rand(filters, generator=generator) + 0.5, torch.randn(filters) / 10))
            channels = filters
        whole = torch.randint(-127, 128, (256, 128), generator=generator).float()
        whole[0] = 127
        self.projection = whole / 500

    def _convolved(self, data: torch.Tensor, index: int) -> torch.Tensor:
        gain, shift = (part[:, None, None] for part in self.affines[index])
        return torch.as_tensor(self.convolutions[index](data) * gain + shift)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        data = (faces - torch.tensor(MEAN_RGB)[:, None, None]) / 256
        data = functional.max_pool2d(functional.relu(self._convolved(data, 0)), 3, 2)
        for block, (_, stride) in enumerate(BLOCKS):
            inner = functional.relu(self._convolved(data, 2 * block + 1))
            inner = self._convolved(inner, 2 * block + 2)
            shortcut = functional.avg_pool2d(data, 2) if stride == 2 else data
            sides = [max(pair) for pair in zip(inner.shape[1:], shortcut.shape[1:], strict=True)]
            total = torch.zeros(len(faces), *sides)
            for part in (inner, shortcut):
                total[:, : part.shape[1], : part.shape[2], : part.shape[3]] += part
            data = functional.relu(total)
        return data.mean(dim=(2, 3)) @ self.projection

    def as_dlib(self) -> bytes:
        """The layers with weights, as dlib serializes them, between others that have none."""
        parts = [string("loss_metric_2"), string("input_rgb_image_sized")]
        for layer, affine in zip(self.convolutions, self.affines, strict=True):
            kernel = torch.cat([part.detach().flatten() for part in layer.parameters()])
            padding = layer.weight.shape[2] // 2 if layer.stride == (1, 1) else 0
            sizes = (layer.out_channels, *layer.kernel_size, *layer.stride, padding, padding)
            parts += [string("con_4"), tensor(kernel), *map(integer, sizes)]
            parts += [string("affine_"), tensor(torch.cat(affine)), string("relu_1")]
        parts += [string("avg_pool_2"), string("fc_2"), integer(128), integer(256), tensor(self.projection)]
        return b"".join(parts)


def integer(value: int) -> bytes:
    length = (value.bit_length() + 7) // 8
    return bytes([length]) + value.to_bytes(length, "little")


def string(text: str) -> bytes:
    return integer(len(text)) + text.encode()


def tensor(values: torch.Tensor) -> bytes:
    sizes = (values.numel(), 1, 1, 1)
    return b"".join(map(integer, (2, *sizes))) + values.detach().numpy().astype("<f4").tobytes()


def test_the_onnx_computes_what_dlibs_network_does() -> None:
    network = Network().eval()
    session = onnxruntime.InferenceSession(onnx_from_dlib(network.as_dlib()).SerializeToString())
    faces = np.random.default_rng(1).uniform(0, 255, (2, 3, SIDE, SIDE)).astype(np.float32)
    (found,) = session.run(None, {"face": faces})
    with torch.inference_mode():
        expected = network(torch.from_numpy(faces)).numpy()
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4 * float(np.ptp(expected)))


def test_another_file_is_refused() -> None:
    with pytest.raises(CheckpointError, match="no network"):
        onnx_from_dlib(b"something else")
    with pytest.raises(CheckpointError, match=r"got \(64, 256\), expected \(128, 256\)"):
        onnx_from_dlib(string("fc_2") + integer(64) + integer(256))
    with pytest.raises(CheckpointError, match="version 3"):
        onnx_from_dlib(string("con_4") + integer(3))
