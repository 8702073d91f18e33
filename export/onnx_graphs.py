"""Torch networks to ONNX files that old and new runtimes load: opset 17, IR version 8."""

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
from deepfake_triton.export.checkpoint import Checkpoint
from deepfake_triton.export.networks import exportable

OPSET = 17
IR_VERSION = 8
"""Understood by ONNX Runtime 1.10 and later; newer versions than 10 are refused in many containers."""


def extractor_onnx_from_checkpoint(checkpoint: Checkpoint, path: Path) -> Path:
    """Write `faces` uint8 [B, T, S, S, 3] → `features` float32 [B, T, 2048], B and T free."""
    side = checkpoint.facts.crop_side
    faces = torch.zeros(1, 2, side, side, 3, dtype=torch.uint8)
    name = faces_spec(side).name
    axes = {name: {0: "B", 1: "T"}, FEATURES.name: {0: "B", 1: "T"}}
    return exported_graph(checkpoint.extractor, (faces,), [name], [FEATURES.name], axes, path)


def classifier_onnx_from_checkpoint(checkpoint: Checkpoint, path: Path) -> Path:
    """Write `features` float32 [B, T, 2048] → `logits` [B, 2] and `fake_probability` [B, 1], B and T free."""
    features = torch.zeros(1, 2, FEATURE_SIZE)
    outputs = [LOGITS.name, FAKE_PROBABILITY.name]
    axes = {FEATURES.name: {0: "B", 1: "T"}, **{name: {0: "B"} for name in outputs}}
    network = exportable(checkpoint.classifier).eval()
    return exported_graph(network, (features,), [FEATURES.name], outputs, axes, path)


def exported_graph(
    network: nn.Module,
    example: tuple[Tensor, ...],
    inputs: list[str],
    outputs: list[str],
    axes: dict[str, dict[int, str]],
    path: Path,
) -> Path:
    """Write a network as ONNX, with free sizes where `axes` names them."""
    # The TorchScript exporter, because the newer one splits an LSTM's last step into several shapes and
    # writes opset 18; parity is proven on every export, whichever wrote the file.
    with torch.inference_mode(), _quiet():
        torch.onnx.export(
            network,
            example,
            str(path),
            input_names=inputs,
            output_names=outputs,
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
    save_onnx(onnx.load(path), path)
    return path


def save_onnx(model: onnx.ModelProto, path: Path) -> None:
    """Check a graph and write it with the IR version that runtimes of many ages read."""
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


def prepared(model: onnx.ModelProto) -> onnx.ModelProto:
    """In the project's opset, with sizes that are free and weights that are constants."""
    names = {each.name for each in model.graph.initializer}
    inputs = [each for each in model.graph.input if each.name not in names]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    if {opset.domain: opset.version for opset in model.opset_import}.get("") != OPSET:
        model = version_converter.convert_version(model, OPSET)
    model.ir_version = IR_VERSION
    del model.graph.value_info[:]
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings(
            "ignore", message="Converting a tensor to a Python boolean"
        )  # nn.LSTM's checks
        warnings.filterwarnings("ignore", message=".*batch_size other than 1.*")
        yield
