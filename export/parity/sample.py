"""The images on which an export is checked: real face crops wherever a video is at hand."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from deepfake_triton.arrays import Frames
from deepfake_triton.errors import ParityError
from deepfake_triton.export.demo_video import demo_clip
from deepfake_triton.export.parity.synthetic import synthetic_crops
from deepfake_triton.models.local_pipeline import find_faces
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.preprocessing.video.sampling import FrameSelection

PARITY_FRAMES = 40
SYNTHETIC_CROPS = 20


@dataclass(frozen=True)
class ParitySample:
    """Crops [N, S, S, 3] uint8 RGB, the frames [T, H, W, 3] that they were cut from, and their source."""

    crops: Frames
    frames: Frames
    source: str
    shows_faces: bool = True


def load_parity_sample(
    video: Path | None, detector: Runner, crop_rule: CropRule, *, detection_interval: int = 1
) -> ParitySample:
    """Cut crops from `video` with the project's own detector, in every `detection_interval`th frame, and
    tracker; by default from the demo's clip.

    Without `video` they are synthetic images where that clip or PyAV is missing, and `source` says so. Raises
    ParityError when the named video shows no face.
    """
    chosen = video or (demo_clip() if find_spec("av") else None)
    if chosen is not None:
        from deepfake_triton.preprocessing.video.clip import decode_clip

        frames = decode_clip(chosen, FrameSelection(PARITY_FRAMES)).frames.data
        faces = find_faces(frames, detector, crop_rule, detection_interval=detection_interval)
        if faces.found:
            crops = faces.faces[faces.observed]
            return ParitySample(crops, frames, f"{len(crops)} faces from {chosen.name}")
        if video is not None:
            raise ParityError(
                f"--parity {video}: no face in its first {len(frames)} frames; name another video"
            )
    crops = synthetic_crops(SYNTHETIC_CROPS, crop_rule.side)
    source = "pictures made in code: no video with a face was at hand"
    return ParitySample(crops, crops, source, shows_faces=False)
