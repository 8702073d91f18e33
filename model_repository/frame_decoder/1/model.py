"""Triton's Python step `frame_decoder`: JPEG files in, one pure function, frames out."""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils

try:
    from deepfake_triton import contracts
    from deepfake_triton.errors import InvalidFrames
    from deepfake_triton.preprocessing.jpeg import decode_frames
    from deepfake_triton.shared_pages import discard_untouched_pages
except ImportError as error:
    raise pb_utils.TritonModelException(
        f"frame_decoder needs the package deepfake-triton in this server's Python ({error}): "
        "pip install deepfake-triton"
    ) from error


class TritonPythonModel:
    """Triton's interface for Python models."""

    def initialize(self, args: dict[str, str]) -> None:  # noqa: ARG002 - Triton's signature
        """Return memory that Triton reserved for requests."""
        discard_untouched_pages()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request separately."""
        return [self.respond(request) for request in requests]

    def respond(self, request: Any) -> Any:
        """Decode the JPEG files of one clip to its frames."""
        files = pb_utils.get_input_tensor_by_name(request, contracts.ENCODED_FRAMES.name).as_numpy()
        try:
            frames = decode_frames(list(files))
        except InvalidFrames as error:
            refusal = pb_utils.TritonError(str(error), code=pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=refusal)
        return pb_utils.InferenceResponse([pb_utils.Tensor(contracts.FRAMES.name, frames)])
