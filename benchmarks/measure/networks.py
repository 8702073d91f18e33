"""The three networks of an export, each as a torch module and as an ONNX graph, with real inputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import nn

from deepfake_triton.benchmarks.baselines.repositories import (
    load_checkpoint,
    read_served_version,
    served_graph,
)
from deepfake_triton.benchmarks.baselines.torch_detector import TorchDetector
from deepfake_triton.contracts import (
    DEFAULT_FRAMES,
    DETECTIONS,
    FAKE_PROBABILITY,
    FEATURES,
    FRAMES,
    faces_spec,
)
from deepfake_triton.errors import InputError
from deepfake_triton.export.parity.sample import load_parity_sample
from deepfake_triton.models.runtimes.base import Feed
from deepfake_triton.models.runtimes.onnx_runner import OnnxRunner
from deepfake_triton.models.stages import MODEL_NAMES, Stages

_FRAME_HW = (360, 640)

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Network:
    """One network in both forms, and rows of its input: frames, face crops, or clips of features."""

    name: str
    module: nn.Module
    graph: Path
    input: str
    output: str
    rows: Array

    def feed(self, batch: int) -> Feed:
        """Return `batch` rows, repeated where there are fewer."""
        return {self.input: np.resize(self.rows, (batch, *self.rows.shape[1:]))}

    def difference(self, answer: Feed, expected: Feed) -> float:
        """Return the largest difference as a fraction of the largest value; NaN where `answer` holds one.

        Of a detector only the best candidate of each frame is compared, whose order is certain: box and
        landmarks as fractions of the face's width, the score as it is.
        """
        found = np.asarray(answer[self.output], np.float64)
        wanted = np.asarray(expected[self.output], np.float64)
        if self.output != DETECTIONS.name:
            return float(np.abs(found - wanted).max() / max(np.abs(wanted).max(), 1e-9))
        found, wanted = found[:, 0], wanted[:, 0]
        scale = np.maximum(wanted[:, 2:3] - wanted[:, :1], 1.0) * np.ones(wanted.shape[1])
        scale[:, 4] = 1.0
        return float((np.abs(found - wanted) / scale).max())


def load_networks(repository: Path, checkpoint: Path | None, video: Path | None) -> Stages[Network]:
    """Load the networks of an FP32 ONNX repository, and feed them real faces. Raises InputError."""
    served = read_served_version(repository)
    if not served.form.startswith(("FP32, ONNX", "FP32, OpenVINO")):
        raise InputError(f"{repository} is {served.form}: export one in FP32 with --engine onnx for this")
    weights = load_checkpoint(served, checkpoint)
    graphs = MODEL_NAMES.map(lambda name: served_graph(repository, name))
    sample = load_parity_sample(video, OnnxRunner(graphs.detector), weights.metadata.crop_rule)
    frames = np.stack([_resized(frame) for frame in sample.frames])
    crops = np.resize(sample.crops, (DEFAULT_FRAMES, *sample.crops.shape[1:]))
    with torch.inference_mode():
        features = weights.extractor(torch.from_numpy(crops[None])).numpy()
    return Stages(
        detector=Network(
            MODEL_NAMES.detector,
            TorchDetector(onnx.load(graphs.detector), served.detector_size),
            graphs.detector,
            input=FRAMES.name,
            output=DETECTIONS.name,
            rows=frames,
        ),
        extractor=Network(
            MODEL_NAMES.extractor,
            weights.extractor,
            graphs.extractor,
            input=faces_spec(weights.metadata.crop_side).name,
            output=FEATURES.name,
            rows=crops[:, None],
        ),
        classifier=Network(
            MODEL_NAMES.classifier,
            weights.classifier,
            graphs.classifier,
            input=FEATURES.name,
            output=FAKE_PROBABILITY.name,
            rows=features,
        ),
    )


def _resized(frame: Array) -> Array:
    return np.asarray(cv2.resize(frame, _FRAME_HW[::-1]), np.uint8)
