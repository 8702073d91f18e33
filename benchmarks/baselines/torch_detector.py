"""CenterFace in torch, with the weights of its ONNX file; letterboxing and decoding as in the graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from deepfake_triton.contracts import CANDIDATES, DETECTIONS, FRAMES, MIN_CANDIDATE_SCORE
from deepfake_triton.errors import InputError
from deepfake_triton.models.detectors.centerface_graph import SIDE_MULTIPLE, STRIDE
from deepfake_triton.models.graph_partition import network_nodes
from deepfake_triton.models.runtimes.base import Feed

_FEATURE_MAPS = ("537", "538", "539", "540")
"""Names in the file of scores, sizes, offsets and landmarks."""


class TorchDetector(nn.Module):
    """`frames` uint8 [N, H, W, 3] → `detections` float32 [N, 32, 15], the graph of `centerface_graph`.

    Raises InputError for the graph of another detector.
    """

    def __init__(self, graph: onnx.ModelProto, detector_size: int) -> None:
        super().__init__()
        self.detector_size = detector_size
        nodes = network_nodes(graph)
        if not set(_FEATURE_MAPS) <= {name for node in nodes for name in node.output}:
            raise InputError(
                f"the detector is not CenterFace: expected its feature maps {', '.join(_FEATURE_MAPS)}"
            )
        weights = {tensor.name: tensor for tensor in graph.graph.initializer}
        self.source = nodes[0].input[0]
        self.steps: list[tuple[Callable[..., Tensor], list[str], list[str], str]] = []
        for node in nodes:
            attributes = {
                attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute
            }
            activations = [name for name in node.input if name not in weights]
            constants = [f"w_{name.replace('.', '_')}" for name in node.input if name in weights]
            for own, name in zip(constants, (name for name in node.input if name in weights), strict=True):
                self.register_buffer(own, torch.from_numpy(numpy_helper.to_array(weights[name]).copy()))
            self.steps.append((_operation(node.op_type, attributes), activations, constants, node.output[0]))

    def forward(self, frames: Tensor) -> Tensor:
        """Return `detections` of `frames`."""
        height, width = frames.shape[1:3]
        longest = max(height, width)
        scaled = [max(1, (side * self.detector_size + longest // 2) // longest) for side in (height, width)]
        pixels = frames.permute(0, 3, 1, 2).to(next(self.buffers()).dtype)
        resized = F.interpolate(pixels, scaled, mode="bilinear", align_corners=False)
        below, right = (-side % SIDE_MULTIPLE for side in scaled)
        values = {self.source: F.pad(resized, (0, right, 0, below))}
        for operation, activations, constants, output in self.steps:
            values[output] = operation(
                *(values[name] for name in activations), *(getattr(self, name) for name in constants)
            )
        return _decode([values[name].float() for name in _FEATURE_MAPS], scaled, (height, width))

    @torch.inference_mode()
    def infer(self, feed: Feed) -> Feed:
        """See Runner."""
        device = next(self.buffers()).device
        return {DETECTIONS.name: self(torch.from_numpy(feed[FRAMES.name]).to(device)).cpu().numpy()}

    @property
    def runtime(self) -> str:
        """See Runner."""
        return f"torch {torch.__version__}"


def _operation(kind: str, attributes: dict[str, Any]) -> Callable[..., Tensor]:
    if kind == "Conv":
        stride, padding = attributes["strides"], attributes["pads"][:2]
        return lambda x, weight, bias=None: F.conv2d(
            x, weight, bias, stride, padding, groups=attributes["group"]
        )
    if kind == "ConvTranspose":
        return lambda x, weight: F.conv_transpose2d(x, weight, stride=attributes["strides"])
    if kind == "BatchNormalization":
        return lambda x, scale, shift, mean, variance: F.batch_norm(
            x, mean, variance, scale, shift, eps=attributes["epsilon"]
        )
    plain: dict[str, Callable[..., Tensor]] = {"Relu": F.relu, "Sigmoid": torch.sigmoid, "Add": torch.add}
    return plain[kind]


def _decode(outputs: list[Tensor], scaled: list[int], frame: tuple[int, int]) -> Tensor:
    scores, sizes, offsets, marks = outputs
    peaks = torch.where(scores == F.max_pool2d(scores, 3, 1, 1), scores, 0.0).flatten(1)
    best, cells = peaks.topk(CANDIDATES, dim=1)
    columns = scores.shape[3]
    place = torch.stack((cells % columns, cells // columns), dim=1).float()
    maps = torch.cat((sizes, offsets, marks), dim=1).flatten(2)
    best_maps = maps.gather(2, cells[:, None].expand(-1, 14, -1))
    size_yx, offset_yx, marks_yx = best_maps[:, :2], best_maps[:, 2:4], best_maps[:, 4:]
    ratio = torch.tensor([frame[1] / scaled[1], frame[0] / scaled[0]], device=scores.device)[:, None]
    size = size_yx.flip(1).exp() * STRIDE * ratio
    center = (place + offset_yx.flip(1) + 0.5) * STRIDE * ratio
    low = center - size / 2
    most = torch.tensor([frame[1], frame[0]] * 2, device=scores.device)[:, None]
    boxes = torch.minimum(torch.cat((low, low + size), dim=1).clamp(min=0), most)
    marks_xy = marks_yx[:, [1, 0, 3, 2, 5, 4, 7, 6, 9, 8]]
    landmarks = marks_xy * size.repeat(1, 5, 1) + low.repeat(1, 5, 1)
    fields = torch.cat((boxes, best[:, None], landmarks), dim=1).transpose(1, 2)
    return torch.where((best >= MIN_CANDIDATE_SCORE)[..., None], fields, 0.0)
