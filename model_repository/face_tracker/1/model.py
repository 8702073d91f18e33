"""Triton's Python step `face_tracker`: tensors in, one pure function, tensors out."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import triton_python_backend_utils as pb_utils

try:
    from deepfake_triton import contracts
    from deepfake_triton.errors import InvalidFrames
    from deepfake_triton.preprocessing.crops import CropRule
    from deepfake_triton.preprocessing.faces import faces_from_detections
    from deepfake_triton.shared_pages import discard_pages, discard_untouched_pages
except ImportError as error:
    raise pb_utils.TritonModelException(
        f"face_tracker needs the package deepfake-triton in this server's Python ({error}): "
        "pip install deepfake-triton"
    ) from error


class TritonPythonModel:
    """Triton's interface for Python models."""

    def initialize(self, args: dict[str, str]) -> None:  # noqa: ARG002 - Triton's signature
        """Read the rules that belong to this version: crops, and every how many frames faces are detected."""
        discard_untouched_pages()
        cv2.setNumThreads(1)  # crops are too small to share, and other instances use the other cores
        rule = Path(__file__).with_name("crop_rule.json")
        self.crop_rule = CropRule(**json.loads(rule.read_text()))
        detection = Path(__file__).with_name("detection_rule.json")  # written where frames are skipped
        self.interval = json.loads(detection.read_text())["interval"] if detection.is_file() else 1

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request separately: the contract gives this step no batch dimension."""
        return [self.respond(request) for request in requests]

    def respond(self, request: Any) -> Any:
        """Track and crop the faces in the frames and candidates of one clip."""
        began = time.monotonic()
        received = pb_utils.get_input_tensor_by_name(request, contracts.FRAMES.name)
        frames = received.as_numpy()
        detections = pb_utils.get_input_tensor_by_name(request, contracts.DETECTIONS.name).as_numpy()
        try:
            tracked = faces_from_detections(
                frames, detections, self.crop_rule, detection_interval=self.interval
            )
        except InvalidFrames as error:
            discard_pages(received)
            refusal = pb_utils.TritonError(str(error), code=pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=refusal)
        record = {
            "event": "tracked",
            "request_id": request.request_id(),
            "frames": len(frames),
            "faces": len(tracked.faces) if tracked.found else 0,
            "faces_left_out": tracked.left_out,
            "seconds": round(time.monotonic() - began, 4),
        }
        pb_utils.Logger.log_info(json.dumps(record))
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor(contracts.faces_spec(self.crop_rule.side).name, tracked.faces),
                pb_utils.Tensor(contracts.BOXES.name, tracked.boxes),
                pb_utils.Tensor(contracts.OBSERVED.name, tracked.observed),
                pb_utils.Tensor(contracts.FACES_LEFT_OUT.name, np.array([tracked.left_out], np.int32)),
            ]
        )
