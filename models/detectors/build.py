"""Build face detectors as self-contained graphs: uint8 frames of any size in, decoded candidates out.

The default is CenterFace, whose weights (MIT) come with this package: Xu et al., *CenterFace: Joint Face
Detection and Alignment Using Face as Point*, 2019.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import checker, compose, helper, shape_inference, version_converter

from deepfake_triton.contracts import CANDIDATES, DETECTION_FIELDS, DETECTIONS, FRAMES
from deepfake_triton.errors import DetectorError, InferenceFailed
from deepfake_triton.files.hashing import sha256_of_file
from deepfake_triton.models.detectors.centerface_graph import SIDE_MULTIPLE, decode_graph, letterbox_graph
from deepfake_triton.models.detectors.weights import resolve_detector
from deepfake_triton.models.detectors.yunet_scrfd import scrfd_graph, yunet_graph
from deepfake_triton.models.graph_partition import DECODING_PREFIX
from deepfake_triton.models.onnx_export import OPSET, normalize_graph, save_onnx
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.models.runtimes.onnx_runner import OnnxRunner

# Raised by ONNX for a graph that is almost of a known layout.
_MISFITS = (
    *(ValueError, KeyError, IndexError, TypeError, RuntimeError),
    *(checker.ValidationError, shape_inference.InferenceError, version_converter.ConvertError),
)
_INPUT = "input.1"
_OUTPUTS = {"537": "score_map", "538": "size_map", "539": "offset_map", "540": "landmark_map"}
"""Outputs of CenterFace's file, and the inputs of `decode_graph` that they feed."""
_OUTPUT_CHANNELS = {"537": 1, "538": 2, "539": 2, "540": 10}


def detector_onnx(named: str, path: Path, detector_size: int) -> Path:
    """Write the graph from `frames` uint8 [N, H, W, 3] RGB to `detections` float32 [N, 32, 15].

    N, H and W are dynamic. `named` is the value of `--detector`, `detector_size` the long side in px that
    frames are scaled to. Raises DetectorError for a file of another layout, or a size out of range.
    """
    if not 128 <= detector_size <= 1920 or detector_size % SIDE_MULTIPLE:
        raise DetectorError(f"detector size: got {detector_size}, expected a multiple of 32 in 128…1920 px")
    kind, weights = resolve_detector(named)
    try:
        whole = _GRAPHS[kind](_load_onnx(weights), detector_size, path.parent)
        _rename_output(whole, f"{DECODING_PREFIX}{DETECTIONS.name}", DETECTIONS.name)
        whole.graph.name = "face_detector"
        _replace_cast_like(whole)
        _remove_unused_weights(whole)
        save_onnx(whole, path)
    except (DetectorError, *_MISFITS) as error:
        raise DetectorError(f"{weights}: {' '.join(str(error).split())}") from error
    _require_dynamic_shapes(path, weights)
    return path


def centerface_graph(model: onnx.ModelProto, detector_size: int, _: Path) -> onnx.ModelProto:
    """Return the graph from frames to detections by CenterFace. Raises DetectorError for another file."""
    network = _with_dynamic_shapes(model)
    front = compose.merge_models(
        normalize_graph(letterbox_graph(detector_size)), network, [("picture", _INPUT)]
    )
    decoding = compose.add_prefix(normalize_graph(decode_graph()), DECODING_PREFIX)
    links = [(name, f"{DECODING_PREFIX}{meaning}") for name, meaning in _OUTPUTS.items()]
    links += [(name, f"{DECODING_PREFIX}{name}") for name in ("scaled_hw", "frame_hw")]
    return compose.merge_models(front, decoding, links)


def load_default_detector(detector_size: int) -> Runner:
    """Build the default detector, and load it in ONNX Runtime. Raises DetectorError as `detector_onnx`."""
    with tempfile.TemporaryDirectory(prefix="deepfake-triton-") as folder:
        return OnnxRunner(detector_onnx("centerface", Path(folder) / "detector.onnx", detector_size))


def default_detector_sha256(detector_size: int) -> str:
    """Return the SHA-256 of the default detector's graph. Raises DetectorError as `detector_onnx`."""
    with tempfile.TemporaryDirectory(prefix="deepfake-triton-") as folder:
        return sha256_of_file(detector_onnx("centerface", Path(folder) / "detector.onnx", detector_size))


_GRAPHS: dict[str, Callable[[onnx.ModelProto, int, Path], onnx.ModelProto]] = {
    "centerface": centerface_graph,
    "yunet": yunet_graph,
    "scrfd": scrfd_graph,
}


def _require_dynamic_shapes(graph: Path, weights: Path) -> None:
    """Run frames of two sizes and batches: some files accept one frame of one size only."""
    runner = OnnxRunner(graph)
    for shape in ((1, 90, 160, 3), (2, 160, 90, 3)):
        try:
            rows = runner.infer({FRAMES.name: np.zeros(shape, np.uint8)})[DETECTIONS.name].shape[0]
        except InferenceFailed as error:
            raise DetectorError(f"{weights}: batch, height and width must be dynamic: {error}") from error
        if rows != shape[0]:
            raise DetectorError(f"{weights}: the batch must be dynamic: got {rows} for {shape[0]} frames")


def _load_onnx(weights: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(weights)
    except (OSError, DecodeError) as error:
        raise DetectorError(f"cannot be read as ONNX: {error}") from error
    if not model.graph.node:
        raise DetectorError("holds no graph")
    return model


def _with_dynamic_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the published network with dynamic batch, height and width, its weights constant."""
    names = {entry.name for entry in [*model.graph.input, *model.graph.output]}
    if not {_INPUT, *_OUTPUTS} <= names:
        raise DetectorError(f"not CenterFace: expected the input {_INPUT} and outputs {list(_OUTPUTS)}")
    del model.graph.input[:]
    del model.graph.output[:]
    model.graph.input.append(_float_info(_INPUT, ["N", 3, "h", "w"]))
    model.graph.output.extend(_float_info(name, ["N", _OUTPUT_CHANNELS[name], "r", "c"]) for name in _OUTPUTS)
    return normalize_graph(model)


def _float_info(name: str, shape: list[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)


def _rename_output(model: onnx.ModelProto, old: str, new: str) -> None:
    for node in model.graph.node:
        node.output[:] = [new if name == old else name for name in node.output]
    del model.graph.output[:]
    model.graph.output.append(_float_info(new, ["N", CANDIDATES, DETECTION_FIELDS]))


def _replace_cast_like(model: onnx.ModelProto) -> None:
    """Replace CastLike, which onnxscript writes for constants and OpenVINO does not support, by Cast."""
    for node in model.graph.node:
        if node.op_type == "CastLike":
            node.op_type = "Cast"
            del node.input[1:]
            node.attribute.append(helper.make_attribute("to", onnx.TensorProto.FLOAT))


def _remove_unused_weights(model: onnx.ModelProto) -> None:
    """Remove weights that no node reads, and duplicate opset imports."""
    used = {name for node in model.graph.node for name in node.input}
    kept = [weights for weights in model.graph.initializer if weights.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", OPSET))
