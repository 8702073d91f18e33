"""What INT8 is fitted to: faces in the files that the user names, found as they are when served."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deepfake_triton.contracts import DETECTIONS, FRAMES, MAX_FRAMES
from deepfake_triton.errors import CalibrationError, InputError
from deepfake_triton.export.runners import Runner
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.preprocessing.faces import faces_from_detections
from deepfake_triton.preprocessing.media_files import media_files
from deepfake_triton.preprocessing.sampling import FrameSelection, Sampling
from deepfake_triton.preprocessing.video import decode_clip

FEWEST_FACES = 32


@dataclass(frozen=True)
class CalibrationFaces:
    """Crops [N, S, S, 3] uint8 RGB, and the frames [T, H, W, 3] uint8 RGB of each file that showed one.

    `unused` counts files without a face and files that cannot be decoded, where all were needed.
    """

    crops: npt.NDArray[np.uint8]
    frames: tuple[npt.NDArray[np.uint8], ...]
    unused: int


def calibration_faces(
    paths: Sequence[Path], detector: Runner, rule: CropRule, samples: int, seed: int
) -> CalibrationFaces:
    """`samples` faces of the videos and photos at `paths` and below, chosen by `seed`, as many of each file.

    Raises CalibrationError when there are fewer than 32 faces, or a path is not there.
    """
    if samples < FEWEST_FACES:
        raise CalibrationError(f"--calibration-samples: got {samples}, expected at least {FEWEST_FACES}")
    files = _files(paths)
    order = [files[int(index)] for index in np.random.default_rng(seed).permutation(len(files))]
    crops, frames, useful = _collected(order, samples, detector, rule)
    unused = len(order) - len(useful) if len(crops) < samples else 0
    if unused and useful:  # files without a face took a part of the budget
        crops, frames, useful = _collected(useful, samples, detector, rule)
    if len(crops) < FEWEST_FACES:
        raise CalibrationError(
            f"--calibration: {len(crops)} faces in {len(files)} videos and photos, expected at least "
            f"{FEWEST_FACES}; name more of what the server will see"
        )
    return CalibrationFaces(np.stack(crops[:samples]), tuple(frames), unused)


def _collected(
    files: Sequence[Path], samples: int, detector: Runner, rule: CropRule
) -> tuple[list[npt.NDArray[np.uint8]], list[npt.NDArray[np.uint8]], list[Path]]:
    """Crops, up to `samples`, frames, and the files that showed a face."""
    each = min(MAX_FRAMES, math.ceil(samples / max(1, len(files))))
    selection = FrameSelection(each, Sampling.UNIFORM)
    crops: list[npt.NDArray[np.uint8]] = []
    frames: list[npt.NDArray[np.uint8]] = []
    useful = []
    for file in files:
        if len(crops) >= samples:
            break
        found = _faces(file, selection, detector, rule)
        if found is not None:
            frames.append(found[0])
            crops.extend(found[1][np.linspace(0, len(found[1]) - 1, min(each, len(found[1])), dtype=int)])
            useful.append(file)
    return crops, frames, useful


def _files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise CalibrationError(f"--calibration {path}: no such file or folder")
        files += media_files(path) if path.is_dir() else [path]
    return list(dict.fromkeys(files))


def _faces(
    file: Path, selection: FrameSelection, detector: Runner, rule: CropRule
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]] | None:
    try:
        frames = decode_clip(file, selection).frames.data
    except InputError:
        return None
    tracked = faces_from_detections(frames, detector.infer({FRAMES.name: frames})[DETECTIONS.name], rule)
    return (frames, tracked.faces[tracked.observed]) if tracked.found else None
