"""The published pipeline as its Flask server runs it: dlib's HOG search in every frame, nothing kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch

from deepfake_triton.contracts import FAKE_PROBABILITY
from deepfake_triton.errors import MissingDependency
from deepfake_triton.export.checkpoint import Checkpoint, networks_from_state
from deepfake_triton.export.runners import TorchRunner


def saved_for_torch(weights: Checkpoint, path: Path) -> Callable[[], Checkpoint]:
    """Save the weights as the published server has them; the call reads them back, and does nothing else."""
    parts = {
        "backbone": weights.extractor.backbone,
        "lstm": weights.classifier.lstm,
        "linear1": weights.classifier.head,
    }
    state = {
        f"{part}.{key}": value for part, module in parts.items() for key, value in module.state_dict().items()
    }
    torch.save(state, path)

    def read() -> Checkpoint:
        extractor, classifier = networks_from_state(torch.load(path, weights_only=True), weights.facts)
        return replace(weights, extractor=extractor, classifier=classifier)

    return read


def published_pipeline(
    checkpoint: Callable[[], Checkpoint], frames: int, keep_model: bool
) -> Callable[[Path], float]:
    """A call that takes a video to a probability, with the weights that `checkpoint` reads.

    `dlib.get_frontal_face_detector()(frame, 1)` is what `face_recognition.face_locations` calls. Raises
    MissingDependency without dlib.
    """
    try:
        import dlib
    except ImportError as error:
        raise MissingDependency(
            "the published pipeline needs dlib: pip install 'deepfake-triton[bench]'"
        ) from error
    kept = TorchRunner(checkpoint()) if keep_model else None
    search = dlib.get_frontal_face_detector()

    def judge(video: Path) -> float:
        model = kept or TorchRunner(checkpoint())
        side = model.checkpoint.facts.crop_side
        crops = []
        capture = cv2.VideoCapture(str(video))
        for _ in range(frames):
            there, picture = capture.read()
            if not there:
                break
            rgb = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
            boxes = search(rgb, 1)
            if boxes:
                crops.append(_cut(rgb, boxes[0], side))
        capture.release()
        if not crops:
            return float("nan")
        return float(model.infer({"faces": np.stack(crops)[None]})[FAKE_PROBABILITY.name].max())

    return judge


def _cut(frame: npt.NDArray[np.uint8], box: object, side: int) -> npt.NDArray[np.uint8]:
    top, bottom = max(0, box.top()), box.bottom()  # type: ignore[attr-defined]
    left, right = max(0, box.left()), box.right()  # type: ignore[attr-defined]
    return np.asarray(cv2.resize(frame[top:bottom, left:right], (side, side)), np.uint8)
