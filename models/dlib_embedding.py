"""Convert dlib's face embedding to the ONNX file that ships with the client; run once, kept as provenance.

The weights are `dlib_face_recognition_resnet_model_v1.dat` by Davis E. King, who gave them to the public
domain (https://github.com/davisking/dlib-models). The file is dlib's serialization: layers from the input on;
an integer is one byte of sign and length, then its value; a tensor is a version, four sizes, and floats.

    python -m deepfake_triton.models.dlib_embedding dlib_face_recognition_resnet_model_v1.dat model.onnx.gz
"""

from __future__ import annotations

import gzip
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from deepfake_triton.errors import CheckpointError

SIDE = 150
MEAN_RGB = (122.782, 117.001, 104.298)
"""Mean that dlib's input layer subtracts before it divides by 256."""
_FEATURES = 256
_EMBEDDING = 128

Weights = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Convolution:
    """A convolution, with the affine layer behind it folded in: `kernel` [O, I, K, K] and `bias` [O]."""

    kernel: Weights
    bias: Weights
    stride: int
    padding: int


def onnx_from_dlib(dat: bytes) -> onnx.ModelProto:
    """Return the network as ONNX: `face` [N, 3, 150, 150] float32 RGB 0…255 to `embedding` [N, 128] float32.

    Kernels are INT8 with one scale per output channel. Raises CheckpointError for another file.
    """
    convolutions, projection = layers_from_dlib(dat)
    graph = _Graph()
    graph.constant("mean", np.array(MEAN_RGB, np.float32)[None, :, None, None])
    graph.constant("scale", np.array(1 / 256, np.float32))
    data = graph.add("Mul", graph.add("Sub", "face", "mean"), "scale")
    data = graph.convolve(data, convolutions[0], relu=True)
    data = graph.add("MaxPool", data, kernel_shape=[3, 3], strides=[2, 2])
    size = ((SIDE - 7) // 2 + 1 - 3) // 2 + 1
    for first, second in zip(convolutions[1::2], convolutions[2::2], strict=True):
        data, size = graph.residual(data, size, first, second)
    data = graph.add("Flatten", graph.add("GlobalAveragePool", data))
    graph.add("MatMul", data, graph.kernel("projection", projection, axis=0), output="embedding")
    return graph.model()


def layers_from_dlib(dat: bytes) -> tuple[list[Convolution], Weights]:
    """Return the convolutions in order, and the last layer's matrix [256, 128]. Raises CheckpointError."""
    reader = _Reader(dat)
    convolutions: list[Convolution] = []
    kernel, sizes = np.zeros(0, np.float32), [0]
    for found in re.finditer(rb"con_4|affine_|fc_2", dat):
        reader.position = found.end()
        if found.group() == b"con_4":
            kernel, sizes = reader.tensor(), [reader.integer() for _ in range(6)]
        elif found.group() == b"affine_":
            filters, rows, columns, stride, _, padding = sizes
            gain, shift = np.split(reader.tensor(), 2)
            shaped = kernel[:-filters].reshape(filters, -1, rows, columns)
            convolutions.append(
                Convolution(
                    shaped * gain[:, None, None, None], kernel[-filters:] * gain + shift, stride, padding
                )
            )
        else:
            if (shape := (reader.integer(), reader.integer())) != (_EMBEDDING, _FEATURES):
                raise CheckpointError(f"last layer: got {shape}, expected {(_EMBEDDING, _FEATURES)}")
            return convolutions, reader.tensor().reshape(_FEATURES, _EMBEDDING)
    raise CheckpointError("got no network of dlib's with a layer fc_2 at its end; see the module's address")


class _Reader:
    """Reader of dlib's serialization."""

    def __init__(self, dat: bytes) -> None:
        self._dat = dat
        self.position = 0

    def integer(self) -> int:
        length = self._dat[self.position] & 0x0F
        value = int.from_bytes(self._dat[self.position + 1 : self.position + 1 + length], "little")
        self.position += 1 + length
        return value

    def tensor(self) -> Weights:
        if (version := self.integer()) != 2:
            raise CheckpointError(f"tensor at byte {self.position}: got version {version}, expected 2")
        count = int(np.prod([self.integer() for _ in range(4)]))
        values = np.frombuffer(self._dat, "<f4", count, self.position)
        self.position += 4 * count
        return values.astype(np.float32)


class _Graph:
    """Builder of an ONNX graph, with numbered names."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or f"{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def constant(self, name: str, value: npt.NDArray[np.generic]) -> str:
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def kernel(self, name: str, value: Weights, axis: int | tuple[int, ...]) -> str:
        """Add an INT8 kernel with a scale per output channel, the axes but `axis`, and its dequantization."""
        scale = np.maximum(np.abs(value).max(axis=axis, keepdims=True), 1e-12) / 127
        whole = self.constant(f"{name}_int8", np.round(value / scale).astype(np.int8))
        cast = self.add("Cast", whole, to=TensorProto.FLOAT)
        return self.add("Mul", cast, self.constant(f"{name}_scale", scale.astype(np.float32)))

    def convolve(self, data: str, layer: Convolution, *, relu: bool) -> str:
        name = f"convolution_{len(self._nodes)}"
        kernel = self.kernel(name, layer.kernel, axis=(1, 2, 3))
        bias = self.constant(f"{name}_bias", layer.bias)
        shape, pads = list(layer.kernel.shape[2:]), [layer.padding] * 4
        strides = [layer.stride] * 2
        data = self.add("Conv", data, kernel, bias, kernel_shape=shape, strides=strides, pads=pads)
        return self.add("Relu", data) if relu else data

    def residual(self, data: str, size: int, *layers: Convolution) -> tuple[str, int]:
        """Add a residual block of two convolutions; return its output and the side of its feature map.

        The shortcut is pooled where the block has stride 2. dlib adds feature maps of unequal shapes by
        padding the smaller with zeros.
        """
        first, second = layers
        inner = self.convolve(self.convolve(data, first, relu=True), second, relu=False)
        if first.stride == 2:
            data = self.add("AveragePool", data, kernel_shape=[2, 2], strides=[2, 2])
            block, size = (size - 3) // 2 + 1, size // 2
            filters, channels = first.kernel.shape[:2]
            data = self._pad(data, filters - channels, 0)
            inner = self._pad(inner, 0, size - block)
        return self.add("Relu", self.add("Add", inner, data)), size

    def _pad(self, data: str, channels: int, pixels: int) -> str:
        if not channels and not pixels:
            return data
        pads = np.array([0, 0, 0, 0, 0, channels, pixels, pixels], np.int64)
        return self.add("Pad", data, self.constant(f"pads_{len(self._nodes)}", pads))

    def model(self) -> onnx.ModelProto:
        face = helper.make_tensor_value_info("face", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])
        embedding = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", _EMBEDDING])
        graph = helper.make_graph(self._nodes, "face_embedding", [face], [embedding], self._constants)
        graph.doc_string = "dlib_face_recognition_resnet_model_v1 by Davis E. King, public domain (CC0)"
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.checker.check_model(model)
        return model


if __name__ == "__main__":
    graph = onnx_from_dlib(Path(sys.argv[1]).read_bytes()).SerializeToString()
    Path(sys.argv[2]).write_bytes(gzip.compress(graph, mtime=0))
