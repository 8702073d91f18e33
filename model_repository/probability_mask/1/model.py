"""Triton's Python step `probability_mask`: tensors in, one pure function, one tensor out."""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils

try:
    from deepfake_triton import contracts
    from deepfake_triton.errors import InvalidFrames
    from deepfake_triton.preprocessing.masking import masked_probability
    from deepfake_triton.shared_pages import discard_untouched_pages
except ImportError as error:
    raise pb_utils.TritonModelException(
        f"probability_mask needs the package deepfake-triton in this server's Python ({error}): "
        "pip install deepfake-triton"
    ) from error


class TritonPythonModel:
    """Triton's interface for Python models."""

    def initialize(self, args: dict[str, str]) -> None:  # noqa: ARG002 - Triton's signature
        """Return memory that Triton reserved for requests."""
        discard_untouched_pages()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request separately: the contract gives this step no batch dimension."""
        return [self.respond(request) for request in requests]

    def respond(self, request: Any) -> Any:
        """Mask the classifier's probabilities in rows where no face was observed."""
        probability, observed = (
            pb_utils.get_input_tensor_by_name(request, tensor.name).as_numpy()
            for tensor in (contracts.CLASSIFIER_PROBABILITY, contracts.OBSERVED)
        )
        try:
            masked = masked_probability(probability, observed)
        except InvalidFrames as error:
            refusal = pb_utils.TritonError(str(error), code=pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=refusal)
        return pb_utils.InferenceResponse([pb_utils.Tensor(contracts.FAKE_PROBABILITY.name, masked)])
