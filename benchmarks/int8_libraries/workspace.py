"""Files that the comparison and the libraries' processes share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from deepfake_triton.contracts import FRAMES, faces_spec
from deepfake_triton.export.quantization.calibration import CalibrationFaces
from deepfake_triton.export.quantization.qdq import quantizable_nodes
from deepfake_triton.models.graph_partition import named_copy
from deepfake_triton.models.runtimes.base import Feed
from deepfake_triton.models.stages import Stages


@dataclass(frozen=True)
class Workspace:
    """A folder with the FP32 graphs, the calibration data, and a folder of graphs for each library."""

    folder: Path

    @property
    def fp32(self) -> Stages[Path]:
        """The FP32 graphs; all nodes of detector and extractor have names."""
        return Stages(
            detector=self.folder / "detector.onnx",
            extractor=self.folder / "extractor.onnx",
            classifier=self.folder / "classifier.onnx",
        )

    def int8(self, library: str) -> Stages[Path]:
        """The graphs that a library writes; the classifier is FP32 for all."""
        folder = self.folder / library
        return Stages(
            detector=folder / "detector.onnx",
            extractor=folder / "extractor.onnx",
            classifier=self.fp32.classifier,
        )

    def name_nodes(self) -> None:
        """Give every node a name, by which libraries are told what to leave in FP32."""
        for path in (self.fp32.detector, self.fp32.extractor):
            onnx.save(named_copy(onnx.load(path)), str(path))

    def save_calibration(self, faces: CalibrationFaces) -> None:
        """Write the calibration data."""
        np.savez(self.folder / "calibration.npz", faces.crops, *faces.frames)

    def load_calibration(self) -> CalibrationFaces:
        """Read the calibration data."""
        with np.load(self.folder / "calibration.npz") as arrays:
            crops, *frames = (arrays[name] for name in arrays.files)
        return CalibrationFaces(crops, tuple(frames), 0)


def detector_feeds(faces: CalibrationFaces) -> list[Feed]:
    """Return one feed for the frames of each calibration file."""
    return [{FRAMES.name: frames} for frames in faces.frames]


def extractor_feeds(faces: CalibrationFaces) -> list[Feed]:
    """Return one feed for each calibration crop."""
    name = faces_spec(faces.crops.shape[1]).name
    return [{name: crop[None, None]} for crop in faces.crops]


def split_nodes(graph: Path) -> tuple[list[str], list[str]]:
    """Return the names of nodes that may be quantized, and of those that stay in FP32.

    The latter are preprocessing and the decoding of boxes, whose pixel coordinates INT8 does not hold.
    """
    model = onnx.load(graph)
    quantizable = [node.name for node in quantizable_nodes(model)]
    others: Sequence[str] = [node.name for node in model.graph.node if node.name not in set(quantizable)]
    return quantizable, list(others)
