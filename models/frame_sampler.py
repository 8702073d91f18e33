"""The graph of `frame_sampler`: all frames of a clip in, those for the detector out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from deepfake_triton.contracts import FRAMES, SAMPLED_FRAMES
from deepfake_triton.models.onnx_export import IR_VERSION, OPSET, save_onnx


def frame_sampler_onnx(path: Path, interval: int) -> Path:
    """Write `frames` uint8 [T, H, W, 3] → `sampled_frames` uint8 [T', H, W, 3]; all sizes are dynamic.

    The frames are those of `preprocessing.detected_frames`: at most `interval` frames apart.
    """
    constants = {"zero": 0, "one": 1, "two": 2, "interval": interval, "rounding_up": interval - 1}
    nodes = [
        _node("Shape", ["frames"], "shape", start=0, end=1),
        _node("Squeeze", ["shape"], "num_frames"),
        _node("Sub", ["num_frames", "one"], "last"),
        _node("Add", ["last", "rounding_up"], "last_up"),
        _node("Div", ["last_up", "interval"], "steps"),
        _node("Add", ["steps", "one"], "count"),
        _node("Range", ["zero", "count", "one"], "position"),
        _node("Mul", ["last", "two"], "twice_last"),
        _node("Mul", ["position", "twice_last"], "scaled"),
        _node("Add", ["scaled", "steps"], "rounded"),
        _node("Mul", ["steps", "two"], "twice_steps"),
        _node("Max", ["twice_steps", "one"], "divisor"),
        _node("Div", ["rounded", "divisor"], "indices"),
        _node("Gather", ["frames", "indices"], "sampled_frames", axis=0),
    ]
    frames, sampled = (
        helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, [count, "H", "W", 3])
        for name, count in ((FRAMES.name, "T"), (SAMPLED_FRAMES.name, "S"))
    )
    weights = [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "frame_sampler", [frames], [sampled], weights)
    model = helper.make_model(
        graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)], producer_name=""
    )
    save_onnx(model, path)
    return path


def _node(kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, [output], **attributes)
