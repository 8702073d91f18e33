"""Track and crop every face of a clip, given the candidates of a detector: what `face_tracker` serves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Frames
from deepfake_triton.contracts import CANDIDATES, DETECTION_FIELDS, MAX_BOX_PX, MAX_CROP_PIXELS
from deepfake_triton.errors import InvalidFrames
from deepfake_triton.preprocessing.clip_size import require_clip_size
from deepfake_triton.preprocessing.crops import CropRule, crop_face
from deepfake_triton.preprocessing.cuts import describe_clip
from deepfake_triton.preprocessing.detected_frames import FrameIndices, detected_frames
from deepfake_triton.preprocessing.detections import FaceRule, clamp_to_frame, faces_in_frame
from deepfake_triton.preprocessing.track_filling import FaceTrack
from deepfake_triton.preprocessing.tracking import track_faces


@dataclass(frozen=True)
class TrackedFaces:
    """The tracked faces of one clip.

    `faces` [F, T, S, S, 3] uint8 crops in the frames' channel order, `boxes` [F, T, 4] float32 as x1, y1, x2,
    y2 in px of the frame, `observed` [F, T] bool, true also between two detected frames of one shot that show
    the face. An unobserved frame has the crop and box of the nearest observed one. `left_out` counts people
    without a row: beyond `FaceRule.max_faces`, or in too few frames.
    """

    faces: npt.NDArray[np.uint8]
    boxes: npt.NDArray[np.float32]
    observed: npt.NDArray[np.bool_]
    left_out: int = 0

    @property
    def found(self) -> bool:
        """Whether the clip shows a face; if not, there is one blank row."""
        return bool(self.observed.any())


def faces_from_detections(
    frames: Frames,
    detections: npt.NDArray[np.float32],
    crop_rule: CropRule,
    *,
    face_rule: FaceRule | None = None,
    detection_interval: int = 1,
) -> TrackedFaces:
    """Track and crop the faces of one clip.

    `frames` [T, H, W, 3] uint8, `detections` [T', K, 15] float32 in px of those frames (x1 y1 x2 y2 score,
    landmarks): of every frame, or of those that `detected_frames` names for a larger `detection_interval`. A
    clip without a face gives one blank row with T = 1 and nothing observed, because Triton passes on no empty
    batch. Boxes are clamped to the frame, and rows with a NaN or an infinity are ignored.
    Raises InvalidFrames when the shapes do not match, or the crops have more pixels than a clip may cost.
    """
    face_rule = face_rule or FaceRule()
    detected = _require_matching(frames, detections, detection_interval)
    inside = clamp_to_frame(detections, *frames.shape[1:3])
    faces_per_frame = [np.zeros((0, 4)) for _ in frames]
    for frame, candidates in zip(detected.tolist(), inside, strict=True):
        faces_per_frame[frame] = faces_in_frame(candidates, face_rule)
    appearance = describe_clip(frames, faces_per_frame)
    result = track_faces(faces_per_frame, face_rule, appearance, detected=detected)
    tracks = result.tracks
    if not tracks:
        return _blank_row(crop_rule, result.left_out)
    _require_affordable(tracks)
    return TrackedFaces(
        faces=np.stack([_crop_track(frames, track, crop_rule) for track in tracks]),
        boxes=np.stack([track.boxes for track in tracks]).astype(np.float32),
        observed=np.stack([track.observed for track in tracks]),
        left_out=result.left_out,
    )


def _crop_track(frames: Frames, track: FaceTrack, rule: CropRule) -> Frames:
    """Return the crops [T, S, S, 3] of one track."""
    crops = {
        int(frame): crop_face(frames[frame], track.boxes[frame], rule)
        for frame in np.flatnonzero(track.observed)
    }
    return np.stack([crops[int(frame)] for frame in track.nearest])


def _blank_row(rule: CropRule, left_out: int) -> TrackedFaces:
    return TrackedFaces(
        faces=np.zeros((1, 1, rule.side, rule.side, 3), np.uint8),
        boxes=np.zeros((1, 1, 4), np.float32),
        observed=np.zeros((1, 1), np.bool_),
        left_out=left_out,
    )


def _require_matching(
    frames: Frames, detections: npt.NDArray[np.float32], detection_interval: int
) -> FrameIndices:
    """Return the indices of the detected frames. Raises InvalidFrames."""
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
        raise InvalidFrames(
            f"frames: got {frames.dtype} {list(frames.shape)}, expected uint8 [T, H, W, 3] with no side of 0"
        )
    require_clip_size("frames", frames.shape[:3])
    detected = detected_frames(len(frames), detection_interval)
    expected = (len(detected), CANDIDATES, DETECTION_FIELDS)
    if detections.shape != expected:
        raise InvalidFrames(f"detections: got {list(detections.shape)}, expected {list(expected)}")
    boxes = detections[..., :4]
    far = np.isfinite(boxes) & (np.abs(boxes) > MAX_BOX_PX)
    if far.any():
        raise InvalidFrames(
            f"detections: got a box at {boxes[far][0]:g} px, expected at most {MAX_BOX_PX} px "
            "from the frame's corner"
        )
    return detected


def _require_affordable(tracks: Sequence[FaceTrack]) -> None:
    sides = [box[2:] - box[:2] for track in tracks for box in track.boxes[track.observed]]
    pixels = int(sum(np.max(side) ** 2 for side in sides))
    if pixels > MAX_CROP_PIXELS:
        raise InvalidFrames(
            f"detections: got faces whose squares add up to {pixels} pixels, at most "
            f"{MAX_CROP_PIXELS} a clip; send fewer frames, or scale them down"
        )
