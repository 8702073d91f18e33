"""Baselines without a server: the same three networks in this process."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx

from deepfake_triton.benchmarks.baselines.repositories import ServedVersion, served_runner
from deepfake_triton.benchmarks.baselines.torch_detector import TorchDetector
from deepfake_triton.errors import InputError
from deepfake_triton.models.checkpoints.checkpoint import Checkpoint
from deepfake_triton.models.detectors.build import detector_onnx
from deepfake_triton.models.local_pipeline import LocalPipeline
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.models.runtimes.onnx_runner import Provider
from deepfake_triton.models.runtimes.torch_runner import torch_stages
from deepfake_triton.models.stages import MODEL_NAMES, Stages


def onnxruntime_pipeline(served: ServedVersion, provider: Provider | None = None) -> LocalPipeline:
    """Load the served graphs under the served runtime, or under another provider of ONNX Runtime."""
    stages: Stages[Runner] = MODEL_NAMES.map(lambda name: served_runner(served.repository, name, provider))
    return LocalPipeline(stages, served.metadata.crop_rule, served.detection_interval)


def torch_pipeline(served: ServedVersion, checkpoint: Checkpoint) -> LocalPipeline:
    """Build the same networks in torch eager. Raises InputError for a detector other than CenterFace."""
    if served.detector.partition(":")[0] != "centerface":
        raise InputError(f"torch eager: the detector is {served.detector}, expected centerface")
    with tempfile.TemporaryDirectory(prefix="deepfake-triton-bench-") as folder:
        graph = onnx.load(detector_onnx(served.detector, Path(folder) / "model.onnx", served.detector_size))
    detector = TorchDetector(graph, served.detector_size)
    stages = torch_stages(checkpoint, detector)
    return LocalPipeline(stages, served.metadata.crop_rule, served.detection_interval)
