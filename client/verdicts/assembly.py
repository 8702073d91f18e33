"""From the ensemble's answer to verdicts: pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from deepfake_triton.client.verdicts.appearance import cut_portrait
from deepfake_triton.client.verdicts.face_embedding import cut_views
from deepfake_triton.client.verdicts.quality_gate import (
    EvidenceRule,
    blockiness_in,
    fragment_limit,
    size_and_sharpness,
)
from deepfake_triton.client.verdicts.verdict import (
    UNCERTAIN,
    FaceVerdict,
    Latency,
    ModelInfo,
    Segment,
    Sighting,
    Verdict,
    VideoVerdict,
)
from deepfake_triton.operating_point import OperatingPoint
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch


def faces_from_answer(
    frames: FrameBatch,
    fake_probability: npt.NDArray[np.float32],
    *,
    boxes: npt.NDArray[np.float32],
    observed: npt.NDArray[np.bool_],
) -> tuple[FaceVerdict, ...]:
    """Return the faces of a clip of T frames, from `fake_probability` [F, 1] in 0…1, `boxes` [F, T, 4] as
    x1 y1 x2 y2 in px, and `observed` [F, T].

    Rows in which nothing was observed are no faces and are left out.
    """
    shown_until = np.append(frames.pts_seconds[1:], frames.end_seconds)
    faces: list[FaceVerdict] = []
    for row in np.flatnonzero(observed.any(axis=1)):
        seen = np.flatnonzero(observed[row])
        probability = float(fake_probability[row, 0])
        segment = Segment(float(frames.pts_seconds[seen[0]]), float(shown_until[seen[-1]]), probability)
        x1, y1, x2, y2 = (float(value) for value in boxes[row, seen[0]])
        face_px, sharpness = size_and_sharpness(frames.data, boxes[row], seen)
        size = (frames.data.shape[2], frames.data.shape[1])
        faces.append(
            FaceVerdict(
                track=len(faces),
                fake_probability=probability,
                frames_observed=len(seen),
                segments=(segment,),
                box=(x1, y1, x2, y2),
                face_px=face_px,
                sharpness=sharpness,
                sightings=(Sighting(frames.pts_seconds[seen], boxes[row][seen], size, probability),),
                portrait=cut_portrait(frames.data, boxes[row], seen),
                views=cut_views(frames.data, boxes[row], seen),
                blockiness=blockiness_in(frames.data, boxes[row], seen),
            )
        )
    return tuple(faces)


def judge_face(
    face: FaceVerdict, thresholds: OperatingPoint, rule: EvidenceRule, *, num_frames: int, fragment_below: int
) -> FaceVerdict:
    """Return a face with its verdict, INCONCLUSIVE when the `rule` rejects it or the thresholds leave it
    open.

    `num_frames` of the video were judged; a face in fewer than `fragment_below` of them decides nothing.
    """
    reason = rule.rejection_reason(face, num_frames, fragment_below=fragment_below)
    if reason is None and thresholds.is_uncertain(face.fake_probability):
        reason = UNCERTAIN
    decided = Verdict.FAKE if thresholds.is_fake(face.fake_probability) else Verdict.REAL
    return replace(face, verdict=Verdict.INCONCLUSIVE if reason else decided, reason=reason)


def verdict_from_faces(
    video: str,
    faces: Sequence[FaceVerdict],
    model: ModelInfo,
    *,
    evidence: EvidenceRule,
    frames_decoded: int,
    duration_seconds: float,
    latency_ms: Latency,
    fault: str | None = None,
    faces_left_out: int = 0,
    num_windows: int = 1,
) -> VideoVerdict:
    """Return the verdict on the most suspicious face that shows enough, INCONCLUSIVE without one.

    Since all faces have the same thresholds, a FAKE one decides, then an uncertain one, before any REAL one.
    Where the only faces were left out, the reason is that they were seen in too few frames.
    """
    most_frames = max((face.frames_observed for face in faces), default=0)
    fragment_below = fragment_limit(most_frames, frames_decoded, num_windows)
    judged = tuple(
        judge_face(face, model.thresholds, evidence, num_frames=frames_decoded, fragment_below=fragment_below)
        for face in faces
    )
    decisive = max(judged, key=lambda face: (face.shows_enough, face.fake_probability), default=None)
    verdict, probability = Verdict.INCONCLUSIVE, None
    reason: str | None = "too_few_frames" if faces_left_out else "no_face"
    if decisive and decisive.verdict:
        verdict, reason = decisive.verdict, decisive.reason
        probability = decisive.fake_probability if decisive.shows_enough else None
    return VideoVerdict(
        video=video,
        verdict=verdict,
        fake_probability=probability,
        reason=reason or ("truncated" if fault else None),
        faces=judged,
        model=model,
        frames_decoded=frames_decoded,
        duration_seconds=duration_seconds,
        latency_ms=latency_ms,
        fault=fault,
        faces_left_out=faces_left_out,
    )
