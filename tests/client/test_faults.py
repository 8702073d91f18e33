from __future__ import annotations

import pytest
from tritonclient.utils import InferenceServerException

from deepfake_triton.client.faults import server_error
from deepfake_triton.errors import (
    DeadlineExceeded,
    InferenceFailed,
    ModelRestarting,
    ModelUnavailable,
    PermissionDenied,
    ServerError,
    ServerOverloaded,
    ServerUnreachable,
)


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        (
            "UNAVAILABLE",
            "failed to connect to all addresses; last error: Connection refused",
            ServerUnreachable,
        ),
        ("UNAVAILABLE", "Socket closed", ServerUnreachable),
        ("UNAVAILABLE", "DNS resolution failed for nowhere:8001", ServerUnreachable),
        (
            "UNAVAILABLE",
            "in ensemble 'x', Server is stopping, scheduler has stopped accepting",
            ServerUnreachable,
        ),
        ("UNAVAILABLE", "in ensemble 'x', Exceeds maximum queue size", ServerOverloaded),
        ("UNAVAILABLE", "Request timeout expired", DeadlineExceeded),
        (
            "INTERNAL",
            "Failed to process the request(s) for model instance 'face_tracker_0_0', message: Stub process "
            "'face_tracker_0_0' is not healthy.",
            ModelRestarting,
        ),
        ("UNAUTHENTICATED", "no token", PermissionDenied),
        (
            "UNAVAILABLE",
            "This protocol is restricted, expecting header 'triton-grpc-protocol-k'",
            PermissionDenied,
        ),
        ("UNAVAILABLE", "Request for unknown model: 'x' is not found", ModelUnavailable),
        ("NOT_FOUND", "Request for unknown model: 'x' has no available versions", ModelUnavailable),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", DeadlineExceeded),
        ("INTERNAL", "onnx runtime error\nand a long story", InferenceFailed),
        (None, "", InferenceFailed),
    ],
)
def test_every_status_becomes_one_typed_line(
    status: str | None, text: str, expected: type[ServerError]
) -> None:
    fault = InferenceServerException(text, status=status and f"StatusCode.{status}")
    error = server_error(fault, "host:8001", 30)
    assert type(error) is expected
    assert str(error).startswith("host:8001: ") and len(str(error).splitlines()) == 1
