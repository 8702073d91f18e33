"""Baseline: the published pipeline as its Flask server runs it, with dlib's HOG detector in every frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from deepfake_triton.arrays import Image
from deepfake_triton.benchmarks.baselines.baseline import Predictor
from deepfake_triton.contracts import FAKE_PROBABILITY
from deepfake_triton.errors import MissingDependency
from deepfake_triton.models.checkpoints.checkpoint import Checkpoint, networks_from_state
from deepfake_triton.models.runtimes.torch_runner import torch_classifier, torch_extractor


def save_for_torch(checkpoint: Checkpoint, path: Path) -> Callable[[], Checkpoint]:
    """Save the weights as the published server has them, and return a call that only loads them."""
    parts = {
        "backbone": checkpoint.extractor.backbone,
        "lstm": checkpoint.classifier.lstm,
        "linear1": checkpoint.classifier.head,
    }
    state = {
        f"{part}.{key}": value for part, module in parts.items() for key, value in module.state_dict().items()
    }
    torch.save(state, path)

    def load() -> Checkpoint:
        extractor, classifier = networks_from_state(torch.load(path, weights_only=True), checkpoint.metadata)
        return replace(checkpoint, extractor=extractor, classifier=classifier)

    return load


def published_predictor(load: Callable[[], Checkpoint], *, frames: int, keep_model: bool) -> Predictor:
    """Return the pipeline on the first `frames` of a video; `load` is called for each unless `keep_model`.

    `dlib.get_frontal_face_detector()(frame, 1)` is what `face_recognition.face_locations` calls. Raises
    MissingDependency without dlib.
    """
    try:
        import dlib
    except ImportError as error:
        raise MissingDependency(
            "the published pipeline needs dlib: pip install 'deepfake-triton[bench]'"
        ) from error
    kept = load() if keep_model else None
    detect = dlib.get_frontal_face_detector()

    def predict(video: Path) -> float:
        model = kept or load()
        crops = []
        capture = cv2.VideoCapture(str(video))
        for _ in range(frames):
            is_read, bgr = capture.read()
            if not is_read:
                break
            rgb = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
            boxes = detect(rgb, 1)
            if boxes:
                crops.append(_crop(rgb, boxes[0], model.metadata.crop_side))
        capture.release()
        if not crops:
            return float("nan")
        features = torch_extractor(model).infer({"faces": np.stack(crops)[None]})
        return float(torch_classifier(model).infer(features)[FAKE_PROBABILITY.name].max())

    return predict


def _crop(frame: Image, box: object, side: int) -> Image:
    top, bottom = max(0, box.top()), box.bottom()  # type: ignore[attr-defined]
    left, right = max(0, box.left()), box.right()  # type: ignore[attr-defined]
    return np.asarray(cv2.resize(frame[top:bottom, left:right], (side, side)), np.uint8)
