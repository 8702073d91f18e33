"""`clip`: frames with a face and the probability that a CPU gives them, for a host without PyAV."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Frames
from deepfake_triton.benchmarks.measure.letterbox import letterbox
from deepfake_triton.contracts import DEFAULT_FRAMES, TYPICAL_FRAME_HW
from deepfake_triton.errors import InputError
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch

SUMMARY = "write a clip with the probability that the CPU gives it"


@dataclass(frozen=True)
class KnownClip:
    """Frames of a 16:9 video, and the `probabilities` [F] of its faces by an FP32 export on a CPU."""

    frames: FrameBatch
    probabilities: npt.NDArray[np.float32]

    def worst_difference(self, probabilities: list[float]) -> float | None:
        """Return the largest difference from the known probabilities; None for another number of faces."""
        if len(probabilities) != len(self.probabilities):
            return None
        return float(np.abs(np.array(probabilities) - self.probabilities).max())


def read_known_clip(path: Path) -> KnownClip:
    """Read the file and enlarge its frames. Raises InputError."""
    try:
        with np.load(path, allow_pickle=False) as held:
            frames = _enlarged(held["frames"])
            batch = FrameBatch(frames, held["pts_seconds"], float(held["end_seconds"]))
            return KnownClip(batch, held["probabilities"])
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise InputError(f"{path}: cannot be read as a clip: {error}; write it with `clip`") from error


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `clip`."""
    parser.add_argument("repository", type=Path, help="an FP32 export, computed here on the CPU")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.npz", help="the clip")


def run(args: argparse.Namespace) -> int:
    """Decode the demo's clip, compute its probability, and write both. Raises InputError."""
    from deepfake_triton.benchmarks.baselines.in_process import onnxruntime_pipeline
    from deepfake_triton.benchmarks.baselines.repositories import read_served_version
    from deepfake_triton.export.demo_video import DEMO_CLIP
    from deepfake_triton.preprocessing.video.clip import decode_clip
    from deepfake_triton.preprocessing.video.sampling import FrameSelection

    small = decode_clip(DEMO_CLIP, FrameSelection(DEFAULT_FRAMES)).frames
    pipeline = onnxruntime_pipeline(read_served_version(args.repository))
    faces = pipeline.faces(_enlarged(small.data))
    probabilities = pipeline.probabilities(faces)[:, 0]
    np.savez_compressed(
        args.output,
        frames=small.data,
        pts_seconds=small.pts_seconds,
        end_seconds=small.end_seconds,
        probabilities=probabilities,
    )
    print(f"{args.output}: {len(small)} frames, probabilities {probabilities.round(6).tolist()}")
    return 0


def _enlarged(frames: Frames) -> Frames:
    height, width = TYPICAL_FRAME_HW
    return np.stack([letterbox(frame, width, height) for frame in frames])
