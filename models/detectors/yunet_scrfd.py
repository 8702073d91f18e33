"""Build detector graphs from YuNet and SCRFD files, with the inputs and outputs of the default detector.

Wu et al., *YuNet: A Tiny Millisecond-level Face Detector*, 2023 (Apache-2.0). Guo et al., *Sample and
Computation Redistribution for Efficient Face Detection*, ICLR 2022; its published weights are for
non-commercial research only. The user brings the file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import compose, helper, numpy_helper

from deepfake_triton.errors import DetectorError
from deepfake_triton.models.detectors.centerface_graph import letterbox_graph
from deepfake_triton.models.detectors.dense_decoder import LEVEL_FIELDS, STRIDES, BoxForm, decoder_onnx
from deepfake_triton.models.graph_partition import DECODING_PREFIX
from deepfake_triton.models.onnx_export import normalize_graph

SCRFD_MEAN, SCRFD_STD = 127.5, 128.0
_TO_FLOAT = onnx.TensorProto.FLOAT


def yunet_graph(model: onnx.ModelProto, detector_size: int, folder: Path) -> onnx.ModelProto:
    """Return the graph from frames to detections by YuNet. Its score is √(face score × objectness).

    Raises DetectorError when the file is not YuNet.
    """
    names = {output.name for output in model.graph.output}
    expected = {f"{name}_{stride}" for name in ("cls", "obj", "bbox", "kps") for stride in STRIDES}
    if not expected <= names:
        raise DetectorError(f"not YuNet: expected the outputs {', '.join(sorted(expected))}")
    network = normalize_graph(model)
    for stride in STRIDES:
        product = f"product_{stride}"
        network.graph.node.append(helper.make_node("Mul", [f"cls_{stride}", f"obj_{stride}"], [product]))
        network.graph.node.append(helper.make_node("Sqrt", [product], [f"score_{stride}"]))
    outputs = {f"score_{stride}": f"score_{stride}" for stride in STRIDES}
    outputs |= {f"box_{stride}": f"bbox_{stride}" for stride in STRIDES}
    outputs |= {f"marks_{stride}": f"kps_{stride}" for stride in STRIDES}
    preprocessing = [helper.make_node("Gather", ["picture", "bgr"], ["prepared"], axis=1)]
    constants = [numpy_helper.from_array(np.array([2, 1, 0]), "bgr")]
    return _assemble(
        network,
        detector_size,
        folder,
        outputs=outputs,
        preprocessing=preprocessing,
        constants=constants,
        anchors=1,
        form="center",
    )


def scrfd_graph(model: onnx.ModelProto, detector_size: int, folder: Path) -> onnx.ModelProto:
    """Return the graph from frames to detections by SCRFD with landmarks.

    Published files flatten batch and anchors into one axis; the transpositions that do so are replaced.
    Raises DetectorError when the file is not SCRFD with landmarks.
    """
    network = normalize_graph(model)
    levels = _repair_levels(network)
    anchors = _count_anchors(network, levels)
    outputs = {
        f"{name}_{stride}": levels[name][index]
        for name in LEVEL_FIELDS
        for index, stride in enumerate(STRIDES)
    }
    preprocessing = [
        helper.make_node("Sub", ["picture", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["prepared"]),
    ]
    constants = [
        numpy_helper.from_array(np.array(value, np.float32), name)
        for name, value in (("mean", SCRFD_MEAN), ("std", SCRFD_STD))
    ]
    return _assemble(
        network,
        detector_size,
        folder,
        outputs=outputs,
        preprocessing=preprocessing,
        constants=constants,
        anchors=anchors,
        form="distances",
    )


def _repair_levels(network: onnx.ModelProto) -> dict[str, list[str]]:
    """Reshape each output to [N, M, fields]; return the outputs' names by kind, ordered by stride."""
    producers = {name: node for node in network.graph.node for name in node.output}
    found: dict[str, list[str]] = {name: [] for name in LEVEL_FIELDS}
    by_size = {size: name for name, size in LEVEL_FIELDS.items()}
    for output in network.graph.output:
        size = output.type.tensor_type.shape.dim[-1].dim_value
        node = producers[output.name]
        if node.op_type == "Sigmoid":
            node = producers[node.input[0]]
        flattened = node.op_type == "Reshape" and producers[node.input[0]].op_type == "Transpose"
        if size not in by_size or not flattened:
            raise DetectorError(
                f"not SCRFD with landmarks: the output {output.name} is no map of 1, 4 or 10 fields"
            )
        transpose = producers[node.input[0]]
        del transpose.attribute[:]
        transpose.attribute.append(helper.make_attribute("perm", [0, 2, 3, 1]))
        shape = f"{output.name}_shape"
        network.graph.initializer.append(numpy_helper.from_array(np.array([0, -1, size]), shape))
        node.input[1] = shape
        found[by_size[size]].append(output.name)
    if any(len(names) != len(STRIDES) for names in found.values()):
        counts = {name: len(names) for name, names in found.items()}
        raise DetectorError(f"not SCRFD with landmarks: got {counts} maps, expected three of each")
    return found


def _count_anchors(network: onnx.ModelProto, levels: dict[str, list[str]]) -> int:
    """Return the anchors per cell: the channels of the convolution that scores the first level."""
    producers = {name: node for node in network.graph.node for name in node.output}
    weights = {tensor.name: tensor for tensor in network.graph.initializer}
    name = levels["score"][0]
    while producers[name].op_type != "Conv":
        name = producers[name].input[0]
    return int(weights[producers[name].input[1]].dims[0])


def _assemble(
    network: onnx.ModelProto,
    detector_size: int,
    folder: Path,
    *,
    outputs: dict[str, str],
    preprocessing: list[onnx.NodeProto],
    constants: list[onnx.TensorProto],
    anchors: int,
    form: BoxForm,
) -> onnx.ModelProto:
    """Join letterbox, `preprocessing` of its image, the network and decoding.

    `outputs` are the network's by level, such as `score_8`; `constants` are initializers of `preprocessing`.
    """
    (image,) = network.graph.input
    named = compose.add_prefix(network, "network_")
    letterbox = normalize_graph(letterbox_graph(detector_size))
    letterbox.graph.node.extend(preprocessing)
    letterbox.graph.initializer.extend(constants)
    letterbox.graph.output.append(helper.make_tensor_value_info("prepared", _TO_FLOAT, ["N", 3, "h", "w"]))
    del named.graph.output[:]
    named.graph.output.extend(
        helper.make_tensor_value_info(f"network_{name}", _TO_FLOAT, ["N", f"M{level}", size])
        for level, name in outputs.items()
        for size in [LEVEL_FIELDS[level.split("_")[0]]]
    )
    joined = compose.merge_models(letterbox, named, [("prepared", f"network_{image.name}")])
    decoder = normalize_graph(decoder_onnx(anchors, form, folder / "decoder.onnx"))
    decoding = compose.add_prefix(decoder, DECODING_PREFIX)
    links = [(name, f"{DECODING_PREFIX}{name}") for name in ("picture", "scaled_hw", "frame_hw")]
    links += [(f"network_{name}", f"{DECODING_PREFIX}{level}") for level, name in outputs.items()]
    return compose.merge_models(joined, decoding, links)
