"""The three networks of an export, each as a torch module and as an ONNX graph, with real inputs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnx
from torch import nn

from deepfake_triton.arrays import Frames
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
from deepfake_triton.models.local_pipeline import find_faces
from deepfake_triton.models.runtimes.base import Feed
from deepfake_triton.models.runtimes.onnx_runner import OnnxRunner
from deepfake_triton.models.stages import MODEL_NAMES, Stages

_FRAME_HW = (360, 640)

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Network:
    """One network in both forms, and rows of its input: frames, face crops, or clips of features; `module`
    is None where only its graph is at hand."""

    name: str
    module: nn.Module | None
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


def load_networks(
    repository: Path, checkpoint: Path | None, video: Path | None = None, *, frames: Frames | None = None
) -> Stages[Network]:
    """Load the networks of an FP32 ONNX repository, and feed them the faces in `frames` [T, H, W, 3] uint8
    RGB, else in `video`. Raises InputError."""
    served = read_served_version(repository)
    if not served.form.startswith(("FP32, ONNX", "FP32, OpenVINO")):
        raise InputError(f"{repository} is {served.form}: export one in FP32 with --engine onnx for this")
    weights = load_checkpoint(served, checkpoint)
    if frames is None:
        detector = OnnxRunner(served_graph(repository, MODEL_NAMES.detector))
        sample = load_parity_sample(video, detector, weights.metadata.crop_rule)
        frames = np.stack([_resized(frame) for frame in sample.frames])
        graphs = load_graphs(repository, frames, crops=sample.crops)
    else:
        graphs = load_graphs(repository, frames)
    detector_module = TorchDetector(onnx.load(graphs.detector.graph), served.detector_size)
    return Stages(
        detector=replace(graphs.detector, module=detector_module),
        extractor=replace(graphs.extractor, module=weights.extractor),
        classifier=replace(graphs.classifier, module=weights.classifier),
    )


def load_graphs(repository: Path, frames: Frames, *, crops: Frames | None = None) -> Stages[Network]:
    """Load the graphs of an ONNX repository in any precision, and feed them `frames` [T, H, W, 3] uint8 RGB
    and `crops` [N, S, S, 3], else the faces found in the frames, computed on the CPU. Raises InputError."""
    crop_rule = read_served_version(repository).metadata.crop_rule
    graphs = MODEL_NAMES.map(lambda name: served_graph(repository, name))
    if crops is None:
        faces = find_faces(frames, OnnxRunner(graphs.detector), crop_rule)
        crops = faces.faces[faces.observed]
    rows = np.resize(crops, (DEFAULT_FRAMES, *crops.shape[1:]))
    crops_name = faces_spec(crop_rule.side).name
    features = OnnxRunner(graphs.extractor).infer({crops_name: rows[None]})[FEATURES.name]
    detector, extractor, classifier = (
        Network(name, None, graph, input=tensors[0], output=tensors[1], rows=given)
        for name, graph, tensors, given in zip(
            MODEL_NAMES,
            graphs,
            (
                (FRAMES.name, DETECTIONS.name),
                (crops_name, FEATURES.name),
                (FEATURES.name, FAKE_PROBABILITY.name),
            ),
            (frames, rows[:, None], features),
            strict=True,
        )
    )
    return Stages(detector=detector, extractor=extractor, classifier=classifier)


def _resized(frame: Array) -> Array:
    return np.asarray(cv2.resize(frame, _FRAME_HW[::-1]), np.uint8)
