"""Requests and answers of the ensemble as plain objects: no connection, no waiting."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferInput, InferRequestedOutput, InferResult

from deepfake_triton.client.verdict import ModelInfo
from deepfake_triton.contracts import (
    BOXES,
    DEFAULT_OPERATING_POINT,
    FAKE_PROBABILITY,
    FRAMES,
    OBSERVED,
    TensorSpec,
    deepfake_detector,
)
from deepfake_triton.errors import ContractMismatch, InferenceFailed
from deepfake_triton.preprocessing.video import FrameBatch

ENSEMBLE = deepfake_detector()


def infer_inputs(frames: FrameBatch) -> list[InferInput]:
    """The one input of the ensemble: `frames` uint8 [T, H, W, 3] RGB."""
    tensor = InferInput(FRAMES.name, list(frames.data.shape), FRAMES.triton_dtype)
    tensor.set_data_from_numpy(frames.data)
    return [tensor]


def requested_outputs() -> list[InferRequestedOutput]:
    """All outputs of the ensemble."""
    return [InferRequestedOutput(output.name) for output in ENSEMBLE.outputs]


def answer_arrays(
    result: InferResult, num_frames: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """`fake_probability` [F, 1], `boxes` [F, T, 4], `observed` [F, T] of an answer on T = `num_frames`.

    Raises InferenceFailed on an answer of another shape: an empty one must not read as "no face".
    """
    probability, boxes, observed = (
        result.as_numpy(tensor.name) for tensor in (FAKE_PROBABILITY, BOXES, OBSERVED)
    )
    if probability is None or boxes is None or observed is None or observed.ndim != 2 or not len(observed):
        raise InferenceFailed("the answer lacks an output, or one is empty; expected a row for each face")
    faces, times = observed.shape
    blank = not observed.any() and (faces, times) == (1, 1)
    fits = probability.shape == (faces, 1) and boxes.shape == (faces, times, 4)
    if not fits or not (blank or times == num_frames) or not np.isfinite(probability).all():
        raise InferenceFailed(
            f"the answer does not fit {num_frames} frames: fake_probability {list(probability.shape)}, "
            f"boxes {list(boxes.shape)}, observed {list(observed.shape)}"
        )
    return probability, boxes, observed


def model_info(metadata: Mapping[str, Any], config: Mapping[str, Any]) -> ModelInfo:
    """Check the server's model against the contract, and read what it says of itself.

    `metadata` and `config` as Triton gives them in JSON. Raises ContractMismatch.
    """
    _require_tensors("input", ENSEMBLE.inputs, metadata.get("inputs", []))
    _require_tensors("output", ENSEMBLE.outputs, metadata.get("outputs", []))
    parameters = {key: value.get("string_value", "") for key, value in config.get("parameters", {}).items()}
    missing = [key for key in ("weights", "export_version", "export_sha256") if not parameters.get(key)]
    if missing:
        raise ContractMismatch(
            f"{ENSEMBLE.name}: its config lacks the parameters {', '.join(missing)}; export it again"
        )
    return ModelInfo(
        name=ENSEMBLE.name,
        version=parameters["export_version"],
        weights=parameters["weights"],
        sha256=parameters["export_sha256"],
        operating_point=_operating_point(parameters.get("operating_points", "")),
    )


def _operating_point(text: str) -> float:
    try:
        return float(json.loads(text or "{}").get("default", DEFAULT_OPERATING_POINT))
    except (ValueError, TypeError, AttributeError) as error:
        raise ContractMismatch(
            f"{ENSEMBLE.name}: parameter operating_points: got {text!r}, expected JSON such as "
            '{"default": 0.5}; export it again'
        ) from error


def _require_tensors(kind: str, expected: tuple[TensorSpec, ...], served: list[Mapping[str, Any]]) -> None:
    found = {
        entry["name"]: (entry["datatype"], [int(size) for size in entry.get("shape", [])]) for entry in served
    }
    for tensor in expected:
        wanted = (tensor.triton_dtype, tensor.triton_dims)
        if found.get(tensor.name) != wanted:
            got = (
                "nothing" if tensor.name not in found else f"{found[tensor.name][0]} {found[tensor.name][1]}"
            )
            raise ContractMismatch(
                f"{ENSEMBLE.name}: {kind} {tensor.name}: the server has {got}, this client expects "
                f"{wanted[0]} {wanted[1]}; export with the same release as the client's"
            )
