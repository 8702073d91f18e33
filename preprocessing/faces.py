"""From the frames and candidates of a clip to the crops of every face in it: what `face_tracker` serves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deepfake_triton.contracts import CANDIDATES, DETECTION_FIELDS, MAX_FRAMES, MAX_SERVED_FRAME_SIDE
from deepfake_triton.errors import InvalidFrames
from deepfake_triton.preprocessing.crops import CropRule, crop_face
from deepfake_triton.preprocessing.detections import FaceRule, faces_in_frame
from deepfake_triton.preprocessing.tracking import FaceTrack, tracks_from_faces


@dataclass(frozen=True)
class TrackedFaces:
    """The faces of one clip.

    `faces` [F, T, S, S, 3] uint8 crops in the frames' channel order, `boxes` [F, T, 4] float32 in px of
    the frame, `observed` [F, T] bool. Where a face was not seen, the nearest frame's crop and box stand in.
    """

    faces: npt.NDArray[np.uint8]
    boxes: npt.NDArray[np.float32]
    observed: npt.NDArray[np.bool_]

    @property
    def found(self) -> bool:
        """False for the one blank row that says that the clip shows no face."""
        return bool(self.observed.any())


def faces_from_detections(
    frames: npt.NDArray[np.uint8],
    detections: npt.NDArray[np.float32],
    crop_rule: CropRule,
    face_rule: FaceRule | None = None,
) -> TrackedFaces:
    """Track and crop the faces of one clip.

    `frames` [T, H, W, 3] uint8, `detections` [T, K, 15] float32 in px of those frames. A clip without a face
    gives one blank row with T = 1 and nothing observed, because Triton passes on no empty batch.
    Raises InvalidFrames when the shapes do not belong together.
    """
    face_rule = face_rule or FaceRule()
    _require_matching(frames, detections)
    faces_per_frame = [faces_in_frame(candidates, face_rule) for candidates in detections]
    tracks = tracks_from_faces(faces_per_frame, face_rule)
    if not tracks:
        return _no_face(crop_rule)
    return TrackedFaces(
        faces=np.stack([_crops(frames, track, crop_rule) for track in tracks]),
        boxes=np.stack([track.boxes for track in tracks]).astype(np.float32),
        observed=np.stack([track.observed for track in tracks]),
    )


def _crops(frames: npt.NDArray[np.uint8], track: FaceTrack, rule: CropRule) -> npt.NDArray[np.uint8]:
    cut = {
        int(frame): crop_face(frames[frame], track.boxes[frame], rule)
        for frame in np.flatnonzero(track.observed)
    }
    return np.stack([cut[int(frame)] for frame in track.nearest])


def _no_face(rule: CropRule) -> TrackedFaces:
    return TrackedFaces(
        faces=np.zeros((1, 1, rule.side, rule.side, 3), np.uint8),
        boxes=np.zeros((1, 1, 4), np.float32),
        observed=np.zeros((1, 1), np.bool_),
    )


def _require_matching(frames: npt.NDArray[np.uint8], detections: npt.NDArray[np.float32]) -> None:
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
        raise InvalidFrames(
            f"frames: got {frames.dtype} {list(frames.shape)}, expected uint8 [T, H, W, 3] with no side of 0"
        )
    if len(frames) > MAX_FRAMES:
        raise InvalidFrames(f"frames: got {len(frames)}, at most {MAX_FRAMES} a request; send shorter clips")
    if max(frames.shape[1:3]) > MAX_SERVED_FRAME_SIDE:
        raise InvalidFrames(
            f"frames: got {frames.shape[2]} × {frames.shape[1]} px, at most {MAX_SERVED_FRAME_SIDE} a side; "
            "scale them down"
        )
    expected = (len(frames), CANDIDATES, DETECTION_FIELDS)
    if detections.shape != expected:
        raise InvalidFrames(f"detections: got {list(detections.shape)}, expected {list(expected)}")
