"""Collect the faces that INT8 is calibrated on, found in the user's files as they are when served."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Frames
from deepfake_triton.console.progress import track_progress
from deepfake_triton.contracts import MAX_FRAMES
from deepfake_triton.errors import CalibrationError, InputError
from deepfake_triton.models.local_pipeline import find_faces
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.preprocessing.media.folders import list_media_files
from deepfake_triton.preprocessing.video.sampling import FrameSelection, Sampling

MIN_FACES = 32
BUNDLED_PORTRAITS = Path(__file__).resolve().parents[1] / "calibration_portraits"
"""Photos of 40 people that INT8 is calibrated on where no others are named; NOTICE.txt beside them names
their origin and license."""


@dataclass(frozen=True)
class CalibrationFaces:
    """Face crops of calibration files, and the frames that they were found in.

    `crops` [N, S, S, 3] uint8 RGB; `frames` [T, H, W, 3] uint8 RGB of each file with a face. `unused` counts
    files that show no face or cannot be decoded, where all files were needed.
    """

    crops: Frames
    frames: tuple[Frames, ...]
    unused: int


def bundled_portraits() -> Path:
    """Return the folder of portraits that come with this package. Raises CalibrationError where it was left
    out."""
    if not any(BUNDLED_PORTRAITS.glob("*.jpg")):
        raise CalibrationError(
            f"--precision int8 without --calibration: the photos in {BUNDLED_PORTRAITS} are not installed, "
            "which the image for serving leaves out; name videos, photos or folders of them, or install the "
            "whole package: pip install --force-reinstall --no-deps deepfake-triton"
        )
    return BUNDLED_PORTRAITS


def collect_calibration_faces(
    paths: Sequence[Path], detector: Runner, crop_rule: CropRule, *, samples: int, seed: int
) -> CalibrationFaces:
    """Return at most `samples` faces of the videos and photos at and below `paths`, equally many of each.

    `seed` chooses the files. Raises CalibrationError for fewer than 32 faces or a path that does not exist.
    """
    files = calibration_files(paths, samples)
    order = [files[int(index)] for index in np.random.default_rng(seed).permutation(len(files))]
    found = _collect(order, detector, crop_rule, samples=samples)
    unused = len(order) - len(found.files) if len(found.crops) < samples else 0
    if unused and found.files:  # files without a face took a part of the budget
        found = _collect(found.files, detector, crop_rule, samples=samples)
    if len(found.crops) < MIN_FACES:
        raise CalibrationError(
            f"--calibration: {len(found.crops)} faces in {len(files)} videos and photos, expected at least "
            f"{MIN_FACES}; name more of what the server will see"
        )
    return CalibrationFaces(np.stack(found.crops[:samples]), tuple(found.frames), unused)


@dataclass(frozen=True)
class _FoundFaces:
    """Crops [S, S, 3], frames [T, H, W, 3] by file, and the files with a face."""

    crops: list[npt.NDArray[np.uint8]]
    frames: list[Frames]
    files: list[Path]


def _collect(files: Sequence[Path], detector: Runner, crop_rule: CropRule, *, samples: int) -> _FoundFaces:
    """Find faces until there are `samples`."""
    from deepfake_triton.preprocessing.video.clip import decode_clip  # PyAV, which nothing else here needs

    per_file = min(MAX_FRAMES, math.ceil(samples / max(1, len(files))))
    selection = FrameSelection(per_file, Sampling.UNIFORM)
    found = _FoundFaces([], [], [])
    for file in track_progress(files, "finding faces", "files"):
        if len(found.crops) >= samples:
            break
        try:
            frames = decode_clip(file, selection).frames.data
        except InputError:
            continue
        faces = find_faces(frames, detector, crop_rule)
        if faces.found:
            crops = faces.faces[faces.observed]
            found.frames.append(frames)
            found.crops.extend(crops[np.linspace(0, len(crops) - 1, min(per_file, len(crops)), dtype=int)])
            found.files.append(file)
    return found


def calibration_files(paths: Sequence[Path], samples: int) -> list[Path]:
    """Return the videos and photos at and below `paths`. Raises CalibrationError for a path that does not
    exist, and for fewer `samples` than 32."""
    if samples < MIN_FACES:
        raise CalibrationError(f"--calibration-samples: got {samples}, expected at least {MIN_FACES}")
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise CalibrationError(f"--calibration {path}: no such file or folder")
        files += list_media_files(path) if path.is_dir() else [path]
    return list(dict.fromkeys(files))
