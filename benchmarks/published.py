"""The published pipeline as its Flask server runs it: dlib's HOG search in every frame, nothing kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.contracts import FAKE_PROBABILITY
from deepfake_triton.errors import MissingDependency
from deepfake_triton.export.checkpoint import Checkpoint
from deepfake_triton.export.runners import TorchRunner


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
