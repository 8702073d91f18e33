"""Requests and answers of the ensemble as plain objects: no connection, no waiting."""

from __future__ import annotations

import json
import struct
import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferResult
from tritonclient.grpc import service_pb2 as pb

from deepfake_triton.client.shared_memory import Region
from deepfake_triton.client.verdict import FaceVerdict, ModelInfo, faces_from_answer
from deepfake_triton.contracts import (
    BOXES,
    DEFAULT_OPERATING_POINT,
    FAKE_PROBABILITY,
    OBSERVED,
    TensorSpec,
    deepfake_detector,
    deepfake_detector_jpeg,
)
from deepfake_triton.errors import ContractMismatch, InferenceFailed
from deepfake_triton.preprocessing.jpeg import encode_frames
from deepfake_triton.preprocessing.video import FrameBatch

ENSEMBLE = deepfake_detector()
JPEG_ENSEMBLE = deepfake_detector_jpeg()


def infer_request(
    frames: FrameBatch, timeout_s: float, *, region: Region | None = None, jpeg_quality: int | None = None
) -> pb.ModelInferRequest:
    """The request for the faces of a clip: its frames in the message, copied to `region`, or with
    `jpeg_quality` as JPEG files for the ensemble that takes those.

    `timeout_s` is how long it may wait in Triton's queues. The reply has all outputs of the ensemble.
    """
    ensemble = ENSEMBLE if jpeg_quality is None else JPEG_ENSEMBLE
    request = pb.ModelInferRequest(model_name=ensemble.name, id=uuid.uuid4().hex)
    request.parameters["timeout"].int64_param = max(1, int(1e6 * timeout_s))
    request.outputs.extend(
        pb.ModelInferRequest.InferRequestedOutputTensor(name=output.name) for output in ensemble.outputs
    )
    (spec,) = ensemble.inputs
    tensor = request.inputs.add(name=spec.name, datatype=spec.triton_dtype, shape=frames.data.shape)
    if jpeg_quality is not None:
        files = encode_frames(frames.data, jpeg_quality)
        tensor.shape[:] = [len(files)]
        request.raw_input_contents.append(b"".join(struct.pack("<I", len(file)) + file for file in files))
    elif region is not None:
        region.fill(frames.data)
        tensor.parameters["shared_memory_region"].string_param = region.name
        tensor.parameters["shared_memory_byte_size"].int64_param = frames.data.nbytes
    else:
        request.raw_input_contents.append(frames.data.tobytes())
    return request


def answer_of(reply: pb.ModelInferResponse, frames: FrameBatch) -> tuple[tuple[FaceVerdict, ...], str]:
    """The faces of a clip, and the version of the ensemble that answered. Raises InferenceFailed."""
    faces = faces_from_answer(frames, *answer_arrays(InferResult(reply), len(frames)))
    return faces, str(reply.model_version)


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


def model_info(
    metadata: Mapping[str, Any], config: Mapping[str, Any], operating_point: str | None = None
) -> ModelInfo:
    """Check the server's model against the contract, and read what it says of itself.

    `metadata` and `config` as Triton gives them in JSON; `operating_point` names one of the server's (None:
    its `balanced` or `default` one, or 0.5). Raises ContractMismatch.
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
        operating_point=_chosen(points := _operating_points(parameters), operating_point),
        operating_points=points,
    )


def _operating_points(parameters: Mapping[str, str]) -> dict[str, float]:
    """The model's thresholds for FAKE, by name; an export without any has the default one."""
    text = parameters.get("operating_points", "")
    try:
        points = {key: float(value) for key, value in json.loads(text or "{}").items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ContractMismatch(
            f"{ENSEMBLE.name}: parameter operating_points: got {text!r}, expected JSON such as "
            '{"default": 0.5}; export it again'
        ) from error
    return points or {"default": DEFAULT_OPERATING_POINT}


def _chosen(points: Mapping[str, float], name: str | None) -> float:
    if name is None:
        return points.get("balanced", points.get("default", DEFAULT_OPERATING_POINT))
    if name not in points:
        known = ", ".join(sorted(points))
        raise ContractMismatch(
            f"operating point {name!r}: the server's model has {known}; choose one of these"
        )
    return points[name]


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
