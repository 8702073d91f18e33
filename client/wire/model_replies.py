"""Model behind an endpoint: its metadata and configuration against the contract."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from tritonclient.grpc import service_pb2 as pb

from deepfake_triton.client.verdicts.verdict import ModelInfo
from deepfake_triton.client.wire.requests import ADDED_LATER, ENSEMBLE
from deepfake_triton.contracts import DEFAULT_OPERATING_POINT, TensorSpec
from deepfake_triton.errors import ContractMismatch
from deepfake_triton.operating_point import OperatingPoint, default_operating_point, points_from_thresholds


def model_info_from_replies(
    metadata: pb.ModelMetadataResponse, config: pb.ModelConfigResponse, operating_point: str | None = None
) -> ModelInfo:
    """Check the server's ensemble against the contract, and read which model it is.

    `operating_point` names one of the server's (None: its `balanced` or `default` one, or 0.5). Raises
    ContractMismatch.
    """
    _require_tensors("input", ENSEMBLE.inputs, metadata.inputs)
    _require_tensors("output", ENSEMBLE.outputs, metadata.outputs)
    parameters = {key: value.string_value for key, value in config.config.parameters.items()}
    missing = [key for key in ("weights", "export_version", "export_sha256") if not parameters.get(key)]
    if missing:
        raise ContractMismatch(
            f"{ENSEMBLE.name}: its config lacks the parameters {', '.join(missing)}; export it again"
        )
    points = _thresholds(parameters, "operating_points") or {"default": DEFAULT_OPERATING_POINT}
    real_at_most = _thresholds(parameters, "real_at_most")
    chosen = _choose_point(points_from_thresholds(points, real_at_most), operating_point)
    return ModelInfo(
        name=ENSEMBLE.name,
        version=parameters["export_version"],
        weights=parameters["weights"],
        sha256=parameters["export_sha256"],
        operating_point=chosen.fake_at_least,
        operating_points=points,
        operating_point_name=chosen.name,
        real_at_most=chosen.real_at_most,
        real_borders=real_at_most,
    )


def _thresholds(parameters: Mapping[str, str], key: str) -> dict[str, float]:
    """Return thresholds by the name of their operating point; an older export may have none."""
    text = parameters.get(key, "")
    try:
        return {name: float(value) for name, value in json.loads(text or "{}").items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ContractMismatch(
            f"{ENSEMBLE.name}: parameter {key}: got {text!r}, expected JSON such as "
            '{"default": 0.5}; export it again'
        ) from error


def _choose_point(points: Sequence[OperatingPoint], name: str | None) -> OperatingPoint:
    """Return the operating point of that name, or the default one. Raises ContractMismatch."""
    if name is None:
        return default_operating_point(points)
    by_name = {point.name: point for point in points}
    if name not in by_name:
        known = ", ".join(sorted(by_name))
        raise ContractMismatch(
            f"operating point {name!r}: the server's model has {known}; choose one of these"
        )
    return by_name[name]


def _require_tensors(
    kind: str,
    expected: tuple[TensorSpec, ...],
    served: Iterable[pb.ModelMetadataResponse.TensorMetadata],
) -> None:
    found = {tensor.name: (tensor.datatype, list(tensor.shape)) for tensor in served}
    for tensor in expected:
        if tensor in ADDED_LATER and tensor.name not in found:
            continue
        wanted = (tensor.triton_dtype, tensor.triton_dims)
        if found.get(tensor.name) != wanted:
            got = (
                "nothing" if tensor.name not in found else f"{found[tensor.name][0]} {found[tensor.name][1]}"
            )
            raise ContractMismatch(
                f"{ENSEMBLE.name}: {kind} {tensor.name}: the server has {got}, this client expects "
                f"{wanted[0]} {wanted[1]}; export with the same release as the client's"
            )
