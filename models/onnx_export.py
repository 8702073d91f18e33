"""Export torch networks as ONNX files that old and new runtimes load: opset 17, IR version 8."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import torch
from onnx import version_converter
from torch import Tensor, nn

from deepfake_triton.contracts import FAKE_PROBABILITY, FEATURE_SIZE, FEATURES, LOGITS, faces_spec
from deepfake_triton.models.checkpoints.checkpoint import Checkpoint
from deepfake_triton.models.networks import simplify_for_export

OPSET = 17
IR_VERSION = 8
"""Read by ONNX Runtime 1.10 and later; IR versions over 10 are refused in many containers."""


def extractor_onnx_from_checkpoint(checkpoint: Checkpoint, path: Path) -> Path:
    """Write `faces` uint8 [B, T, S, S, 3] RGB → `features` float32 [B, T, 2048]; B and T are dynamic."""
    side = checkpoint.metadata.crop_side
    faces = torch.zeros(1, 2, side, side, 3, dtype=torch.uint8)
    name = faces_spec(side).name
    axes = {name: {0: "B", 1: "T"}, FEATURES.name: {0: "B", 1: "T"}}
    return export_onnx(
        checkpoint.extractor,
        (faces,),
        path,
        inputs=[name],
        outputs=[FEATURES.name],
        dynamic_axes=axes,
    )


def classifier_onnx_from_checkpoint(checkpoint: Checkpoint, path: Path) -> Path:
    """Write `features` float32 [B, T, 2048] → `logits` [B, 2], `fake_probability` [B, 1]; dynamic B, T."""
    features = torch.zeros(1, 2, FEATURE_SIZE)
    outputs = [LOGITS.name, FAKE_PROBABILITY.name]
    axes = {FEATURES.name: {0: "B", 1: "T"}, **{name: {0: "B"} for name in outputs}}
    network = simplify_for_export(checkpoint.classifier).eval()
    return export_onnx(network, (features,), path, inputs=[FEATURES.name], outputs=outputs, dynamic_axes=axes)


def export_onnx(
    network: nn.Module,
    example: tuple[Tensor, ...],
    path: Path,
    *,
    inputs: list[str],
    outputs: list[str],
    dynamic_axes: dict[str, dict[int, str]],
) -> Path:
    """Write a network as ONNX by tracing it with `example`; `dynamic_axes` names sizes by tensor and axis."""
    # The TorchScript exporter, because the newer one splits an LSTM's last step into several shapes and
    # writes opset 18; parity is checked on every export, whichever wrote the file.
    with torch.inference_mode(), _without_tracer_warnings():
        torch.onnx.export(
            network,
            example,
            str(path),
            input_names=inputs,
            output_names=outputs,
            dynamic_axes=dynamic_axes,
            opset_version=OPSET,
            dynamo=False,
        )
    save_onnx(onnx.load(path), path)
    return path


def save_onnx(model: onnx.ModelProto, path: Path) -> None:
    """Check a graph and write it in IR version 8."""
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


def normalize_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph in opset 17, its initializers constant, without recorded intermediate shapes.

    The model that is passed in may be changed.
    """
    names = {weights.name for weights in model.graph.initializer}
    inputs = [entry for entry in model.graph.input if entry.name not in names]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    if {opset.domain: opset.version for opset in model.opset_import}.get("") != OPSET:
        model = version_converter.convert_version(model, OPSET)
    model.ir_version = IR_VERSION
    del model.graph.value_info[:]
    return model


@contextmanager
def _without_tracer_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings(
            "ignore", message="Converting a tensor to a Python boolean"
        )  # nn.LSTM's checks
        warnings.filterwarnings("ignore", message=".*batch_size other than 1.*")
        yield
