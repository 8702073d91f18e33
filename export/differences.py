"""How far another engine's answers are from FP32's, as one number each for an extractor and a detector."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from deepfake_triton.contracts import DETECTIONS, FAKE_PROBABILITY, FEATURES, FRAMES, faces_spec
from deepfake_triton.export.runners import Runner
from deepfake_triton.preprocessing.detections import FaceRule, box_overlap

Difference = Callable[[Runner], float]
"""How far a runner's answers are from the reference's."""

_CHUNK = 16


def probability_difference(reference: Runner, classifier: Runner, crops: npt.NDArray[np.uint8]) -> Difference:
    """The mean absolute difference in `fake_probability`, each of the crops [N, S, S, 3] a clip of one frame:
    in longer ones, rounding averages out."""
    wanted = _probabilities(reference, classifier, crops)

    def difference(extractor: Runner) -> float:
        return float(np.abs(_probabilities(extractor, classifier, crops) - wanted).mean())

    return difference


def detection_difference(reference: Runner, frames: Sequence[npt.NDArray[np.uint8]]) -> Difference:
    """The mean over faces of 1 - intersection over union, and of the difference in score; a face that is not
    found counts 1."""
    wanted = [reference.infer({FRAMES.name: each})[DETECTIONS.name] for each in frames]

    def difference(detector: Runner) -> float:
        got = [detector.infer({FRAMES.name: each})[DETECTIONS.name] for each in frames]
        clips = zip(wanted, got, strict=True)
        values = [value for clip in clips for frame in face_differences(*clip) for value in frame]
        return float(np.mean(values)) if values else 0.0

    return difference


def face_differences(wanted: npt.NDArray[np.float32], got: npt.NDArray[np.float32]) -> list[list[float]]:
    """The same by frame and face, of detections [T, K, 15] of the same frames."""
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
    """Of the candidates [K, 15] of one frame that count as faces."""
    faces = wanted[wanted[:, 4] >= FaceRule().min_score].astype(np.float64)
    if not len(faces):
        return []
    overlap = box_overlap(faces[:, :4], got[:, :4].astype(np.float64))
    best = overlap.argmax(axis=1)
    scores = np.abs(faces[:, 4] - got[best, 4])
    return [float(1 - share + score) for share, score in zip(overlap.max(axis=1), scores, strict=True)]
