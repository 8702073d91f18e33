"""Triton's Python step `face_tracker`: tensors in, one pure function, tensors out."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

try:
    from deepfake_triton.errors import InvalidFrames
    from deepfake_triton.preprocessing.crops import CropRule
    from deepfake_triton.preprocessing.faces import faces_from_detections
    from deepfake_triton.shared_pages import discard_pages
except ImportError as error:
    raise pb_utils.TritonModelException(
        f"face_tracker needs the package deepfake-triton in this server's Python ({error}): "
        "pip install deepfake-triton"
    ) from error


class TritonPythonModel:
    """Triton's interface for Python models."""

    def initialize(self, args: dict[str, str]) -> None:  # noqa: ARG002 - Triton's signature
        """Read the crop rule that belongs to this version."""
        rule = Path(__file__).with_name("crop_rule.json")
        self.crop_rule = CropRule(**json.loads(rule.read_text()))

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request by itself: the contract gives this step no batch dimension."""
        return [self.respond(request) for request in requests]

    def respond(self, request: Any) -> Any:
        """Frames and candidates to crops, boxes and what was observed."""
        began = time.monotonic()
        received = pb_utils.get_input_tensor_by_name(request, "frames")
        frames = received.as_numpy()
        detections = pb_utils.get_input_tensor_by_name(request, "detections").as_numpy()
        try:
            tracked = faces_from_detections(frames, detections, self.crop_rule)
        except InvalidFrames as error:
            discard_pages(received)
            refusal = pb_utils.TritonError(str(error), code=pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=refusal)
        record = {
            "event": "tracked",
            "request_id": request.request_id(),
            "frames": len(frames),
            "faces": len(tracked.faces) if tracked.found else 0,
            "seconds": round(time.monotonic() - began, 4),
        }
        pb_utils.Logger.log_info(json.dumps(record))
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor("faces", tracked.faces),
                pb_utils.Tensor("boxes", tracked.boxes),
                pb_utils.Tensor("observed", tracked.observed),
            ]
        )
