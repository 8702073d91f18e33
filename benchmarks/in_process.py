"""The same three networks with no server: what a server's overhead is measured against."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from deepfake_triton.benchmarks.limit import served_runner
from deepfake_triton.benchmarks.repositories import Exported
from deepfake_triton.benchmarks.torch_detector import TorchDetector
from deepfake_triton.contracts import DETECTIONS, FAKE_PROBABILITY, FRAMES, faces_spec
from deepfake_triton.errors import InputError
from deepfake_triton.export.checkpoint import Checkpoint
from deepfake_triton.export.detector import detector_onnx
from deepfake_triton.export.facts import facts_from_metadata
from deepfake_triton.export.runners import Provider, Runner, TorchRunner
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.preprocessing.faces import faces_from_detections

Frames = npt.NDArray[np.uint8]


class InProcess:
    """A detector, and the networks from `faces` to `fake_probability`, called one after another."""

    def __init__(self, rule: CropRule, detector: Runner, *networks: Runner) -> None:
        self.rule, self.detector, self.networks = rule, detector, networks

    def probability(self, frames: Frames) -> float:
        """Of the most suspicious face of one clip; NaN without a face."""
        return self.probabilities([frames])[0]

    def probabilities(self, clips: Sequence[Frames]) -> list[float]:
        """Of several clips; those of one size and length are one batch for each network."""
        sizes = {clip.shape for clip in clips}
        if len(sizes) > 1:
            return [found for clip in clips for found in self.probabilities([clip])]
        stacked = clips[0] if len(clips) == 1 else np.concatenate(clips)
        detections = np.split(self.detector.infer({FRAMES.name: stacked})[DETECTIONS.name], len(clips))
        tracked = [
            faces_from_detections(clip, found, self.rule)
            for clip, found in zip(clips, detections, strict=True)
        ]
        shown = [each.faces for each in tracked if each.found]
        if not shown:
            return [float("nan")] * len(clips)
        found = iter(self._judged(np.concatenate(shown)))
        return [max(next(found) for _ in each.faces) if each.found else float("nan") for each in tracked]

    def _judged(self, faces: Frames) -> list[float]:
        feed = {faces_spec(self.rule.side).name: faces}
        for network in self.networks:
            feed = dict(network.infer(feed))
        return [float(value) for value in feed[FAKE_PROBABILITY.name][:, 0]]


def in_onnxruntime(served: Exported, provider: Provider | None = None) -> InProcess:
    """The served version's graphs under the served runtime, or under another provider of ONNX Runtime."""
    names = ("face_detector", "feature_extractor", "sequence_classifier")
    return InProcess(rule_of(served), *(served_runner(served.repository, name, provider) for name in names))


def in_torch(served: Exported, checkpoint: Checkpoint) -> InProcess:
    """The same weights in torch eager. Raises InputError for a detector that is not known there."""
    if served.detector.partition(":")[0] != "centerface":
        raise InputError(f"torch eager: the detector is {served.detector}, expected centerface")
    with tempfile.TemporaryDirectory(prefix="deepfake-triton-bench-") as folder:
        graph = onnx.load(detector_onnx(served.detector, Path(folder) / "model.onnx", served.detector_size))
    detector = TorchDetector(graph, served.detector_size)
    return InProcess(rule_of(served), detector, TorchRunner(checkpoint))


def rule_of(served: Exported) -> CropRule:
    """How the served version cuts faces."""
    return facts_from_metadata(served.facts).crop_rule
