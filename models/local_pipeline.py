"""Frames → faces → probability with the networks in this process, computed as the served ensemble does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Frames
from deepfake_triton.contracts import DETECTIONS, FAKE_PROBABILITY, FEATURES, FRAMES, faces_spec
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.models.stages import Stages
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.preprocessing.detected_frames import detected_frames
from deepfake_triton.preprocessing.faces import TrackedFaces, faces_from_detections
from deepfake_triton.preprocessing.masking import masked_probability

Probabilities = npt.NDArray[np.float32]


def find_faces(
    frames: Frames, detector: Runner, crop_rule: CropRule, *, detection_interval: int = 1
) -> TrackedFaces:
    """Detect, track and crop the faces of one clip, `frames` [T, H, W, 3] uint8 RGB; the detector gets every
    `detection_interval`th frame.

    Raises InvalidFrames as `faces_from_detections` does.
    """
    sampled = _sample_frames(frames, detection_interval)
    detections = detector.infer({FRAMES.name: sampled})[DETECTIONS.name]
    return faces_from_detections(frames, detections, crop_rule, detection_interval=detection_interval)


@dataclass(frozen=True)
class LocalPipeline:
    """The three networks under any runtime, with the served tracking, cropping and masking between them.

    The detector gets every `detection_interval`th frame.
    """

    stages: Stages[Runner]
    crop_rule: CropRule
    detection_interval: int = 1

    def faces(self, frames: Frames) -> TrackedFaces:
        """Return the faces of one clip, `frames` [T, H, W, 3] uint8 RGB. Raises InvalidFrames."""
        return find_faces(
            frames, self.stages.detector, self.crop_rule, detection_interval=self.detection_interval
        )

    def probabilities(self, faces: TrackedFaces) -> Probabilities:
        """Return the probability of FAKE of each face, [F, 1] float32; NaN for a clip without a face."""
        probability = (
            self._classify(faces.faces) if faces.found else np.zeros((len(faces.faces), 1), np.float32)
        )
        return masked_probability(probability, faces.observed)

    def highest_probabilities(self, clips: Sequence[Frames]) -> list[float]:
        """Return the highest probability among the faces of each clip; NaN for a clip without a face.

        Clips [T, H, W, 3] of one shape pass each network as one batch. Raises InvalidFrames.
        """
        if len({clip.shape for clip in clips}) > 1:
            return [found for clip in clips for found in self.highest_probabilities([clip])]
        sampled = [_sample_frames(clip, self.detection_interval) for clip in clips]
        stacked = sampled[0] if len(clips) == 1 else np.concatenate(sampled)
        detections = np.split(self.stages.detector.infer({FRAMES.name: stacked})[DETECTIONS.name], len(clips))
        tracked = [
            faces_from_detections(clip, found, self.crop_rule, detection_interval=self.detection_interval)
            for clip, found in zip(clips, detections, strict=True)
        ]
        crops = [faces.faces for faces in tracked if faces.found]
        rows = iter(self._classify(np.concatenate(crops)) if crops else ())
        return [
            float(masked_probability(np.stack([next(rows) for _ in faces.faces]), faces.observed).max())
            if faces.found
            else float("nan")
            for faces in tracked
        ]

    def _classify(self, crops: npt.NDArray[np.uint8]) -> Probabilities:
        """Return the classifier's probability [F, 1] for `crops` [F, T, S, S, 3] uint8 RGB."""
        features = self.stages.extractor.infer({faces_spec(self.crop_rule.side).name: crops})[FEATURES.name]
        probability: Probabilities = self.stages.classifier.infer({FEATURES.name: features})[
            FAKE_PROBABILITY.name
        ]
        return probability


def _sample_frames(frames: Frames, detection_interval: int) -> Frames:
    """Return the frames [T', H, W, 3] that the detector gets, uncopied where it gets all."""
    return frames if detection_interval == 1 else frames[detected_frames(len(frames), detection_interval)]
