"""Baseline: the ensemble's steps called from Python inside Triton (business logic scripting, BLS)."""

from __future__ import annotations

import asyncio
from typing import Any

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Triton's interface for Python models."""

    async def execute(self, requests: list[Any]) -> list[Any]:
        """Answer all requests concurrently, each by itself."""
        return list(await asyncio.gather(*(self.respond(request) for request in requests)))

    async def respond(self, request: Any) -> Any:
        """Return the probability of each face in the request's frames."""
        frames = pb_utils.get_input_tensor_by_name(request, "frames")
        detections = await self.call("face_detector", ["detections"], frames)
        faces = await self.call("face_tracker", ["faces", "boxes", "observed"], frames, *detections)
        features = await self.call("feature_extractor", ["features"], faces[0])
        probability = await self.call("sequence_classifier", ["fake_probability"], *features)
        return pb_utils.InferenceResponse(probability)

    async def call(self, model: str, outputs: list[str], *inputs: Any) -> list[Any]:
        """Call another model of this server."""
        request = pb_utils.InferenceRequest(
            model_name=model, requested_output_names=outputs, inputs=list(inputs)
        )
        response = await request.async_exec()
        if response.has_error():
            raise pb_utils.TritonModelException(response.error().message())
        return [pb_utils.get_output_tensor_by_name(response, name) for name in outputs]
