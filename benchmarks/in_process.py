"""The same three networks with no server: what a server's overhead is measured against."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deepfake_triton.benchmarks.limit import served_runner
from deepfake_triton.contracts import DETECTIONS, FAKE_PROBABILITY, FEATURES, FRAMES
from deepfake_triton.export.repository import CROP_RULE_NAME
from deepfake_triton.export.runners import Runner
from deepfake_triton.export.versions import active_version
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.preprocessing.faces import faces_from_detections

Frames = npt.NDArray[np.uint8]


class InProcess:
    """The served version's graphs under the served runtime, called one after another."""

    def __init__(self, repository: Path, judge: Runner | None = None) -> None:
        """`judge` takes `faces` to a probability in place of extractor and classifier, as torch does."""
        version = active_version(repository)
        rule = (repository / "face_tracker" / str(version) / CROP_RULE_NAME).read_text()
        self.rule = CropRule(**json.loads(rule))
        self.detector = served_runner(repository, "face_detector")
        self.judge = judge
        self.extractor = None if judge else served_runner(repository, "feature_extractor")
        self.classifier = None if judge else served_runner(repository, "sequence_classifier")

    def probability(self, frames: Frames) -> float:
        """Of the most suspicious face of one clip; NaN without a face."""
        return self.probabilities([frames])[0]

    def probabilities(self, clips: Sequence[Frames]) -> list[float]:
        """Of several clips; those of one size and length are one batch for each network."""
        sizes = {clip.shape for clip in clips}
        if len(sizes) > 1:
            return [found for clip in clips for found in self.probabilities([clip])]
        stacked = clips[0] if len(clips) == 1 else np.concatenate(clips)
        detections = np.split(self.detector.infer({FRAMES.name: stacked})[DETECTIONS.name], len(clips))
        tracked = [
            faces_from_detections(clip, found, self.rule)
            for clip, found in zip(clips, detections, strict=True)
        ]
        shown = [each.faces for each in tracked if each.found]
        if not shown:
            return [float("nan")] * len(clips)
        found = iter(self._judged(np.concatenate(shown)))
        return [max(next(found) for _ in each.faces) if each.found else float("nan") for each in tracked]

    def _judged(self, faces: Frames) -> list[float]:
        feed = {"faces": faces}
        if self.judge:
            answer = self.judge.infer(feed)
        else:
            assert self.extractor and self.classifier
            answer = self.classifier.infer({FEATURES.name: self.extractor.infer(feed)[FEATURES.name]})
        return [float(value) for value in answer[FAKE_PROBABILITY.name][:, 0]]
