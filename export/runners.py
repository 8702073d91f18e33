"""Whatever runs a graph, behind one call: named arrays in, named arrays out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch

from deepfake_triton.contracts import FAKE_PROBABILITY, LOGITS, faces_spec
from deepfake_triton.errors import MissingDependency
from deepfake_triton.export.checkpoint import Checkpoint

Feed = Mapping[str, npt.NDArray[Any]]
Runner = Callable[[Feed], Mapping[str, npt.NDArray[Any]]]


def torch_runner(checkpoint: Checkpoint) -> Runner:
    """The checkpoint's own networks, in torch: faces to logits and probability."""

    def run(feed: Feed) -> Mapping[str, npt.NDArray[Any]]:
        faces = torch.from_numpy(feed[faces_spec(checkpoint.facts.crop_side).name])
        with torch.inference_mode():
            logits, probability = checkpoint.classifier(checkpoint.extractor(faces))
        return {LOGITS.name: logits.numpy(), FAKE_PROBABILITY.name: probability.numpy()}

    return run


def onnx_runner(path: Path) -> Runner:
    """An ONNX file under ONNX Runtime on the CPU."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependency(
            "ONNX Runtime is not installed: pip install 'deepfake-triton[cpu]'"
        ) from error
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs()]

    def run(feed: Feed) -> Mapping[str, npt.NDArray[Any]]:
        return dict(zip(outputs, session.run(outputs, dict(feed)), strict=True))

    return run
