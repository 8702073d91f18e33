"""Error metrics of an engine against FP32: one number for an extractor, and one for a detector."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from deepfake_triton.contracts import DETECTIONS, FAKE_PROBABILITY, FEATURES, FRAMES, faces_spec
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.preprocessing.detections import FaceRule, box_overlap

Difference = Callable[[Runner], float]
"""The distance of a runner's answers from the reference's."""

_CHUNK = 16


def probability_difference(reference: Runner, classifier: Runner, crops: npt.NDArray[np.uint8]) -> Difference:
    """Return a metric of extractors: the mean absolute difference in `fake_probability`, with each of the
    crops [N, S, S, 3] as a clip of one frame, since rounding averages out in longer ones."""
    wanted = _probabilities(reference, classifier, crops)

    def difference(extractor: Runner) -> float:
        return float(np.abs(_probabilities(extractor, classifier, crops) - wanted).mean())

    return difference


def detection_difference(reference: Runner, frames: Sequence[npt.NDArray[np.uint8]]) -> Difference:
    """Return a metric of detectors on clips [T, H, W, 3]: the mean over faces of 1 - intersection over union,
    and of the difference in score; a face that is not found counts 1."""
    wanted = [reference.infer({FRAMES.name: clip})[DETECTIONS.name] for clip in frames]

    def difference(detector: Runner) -> float:
        got = [detector.infer({FRAMES.name: clip})[DETECTIONS.name] for clip in frames]
        pairs = zip(wanted, got, strict=True)
        values = [value for pair in pairs for frame in face_differences(*pair) for value in frame]
        return float(np.mean(values)) if values else 0.0

    return difference


def face_differences(wanted: npt.NDArray[np.float32], got: npt.NDArray[np.float32]) -> list[list[float]]:
    """Return that difference by frame and face, between detections [T, K, 15] of the same frames."""
    return [_face_differences(one, two) for one, two in zip(wanted, got, strict=True)]


def _probabilities(
    extractor: Runner, classifier: Runner, crops: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float32]:
    name = faces_spec(crops.shape[1]).name
    parts = []
    for first in range(0, len(crops), _CHUNK):
        features = extractor.infer({name: crops[first : first + _CHUNK, None]})[FEATURES.name]
        parts.append(classifier.infer({FEATURES.name: features})[FAKE_PROBABILITY.name][:, 0])
    return np.concatenate(parts)


def _face_differences(wanted: npt.NDArray[np.float32], got: npt.NDArray[np.float32]) -> list[float]:
    """Return the difference of each face among the candidates [K, 15] of one frame."""
    faces = wanted[wanted[:, 4] >= FaceRule().min_score].astype(np.float64)
    if not len(faces):
        return []
    overlap = box_overlap(faces[:, :4], got[:, :4].astype(np.float64))
    best = overlap.argmax(axis=1)
    scores = np.abs(faces[:, 4] - got[best, 4])
    return [float(1 - share + score) for share, score in zip(overlap.max(axis=1), scores, strict=True)]
