from __future__ import annotations

import pytest

from deepfake_triton.client.faults import server_error
from deepfake_triton.errors import (
    DeadlineExceeded,
    InferenceFailed,
    InvalidRequest,
    ModelRestarting,
    ModelUnavailable,
    PermissionDenied,
    ServerError,
    ServerOverloaded,
    ServerUnreachable,
    WrongEndpoint,
)

pytestmark = pytest.mark.fast


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
        ("UNKNOWN", "", InferenceFailed),
        ("INVALID_ARGUMENT", "frames: got 70 frames, at most 64", InvalidRequest),
        ("CANCELLED", "Channel closed!", ServerUnreachable),
        (
            "INTERNAL",
            "Failed to increase the shared memory pool size for key 'x' to 9 bytes. Error: No space left",
            ServerOverloaded,
        ),
        ("UNAVAILABLE", "failed to connect; Failed parsing HTTP/2 (Expected SETTINGS frame)", WrongEndpoint),
        ("UNAVAILABLE", "Tls handshake failed: CERTIFICATE_VERIFY_FAILED: self signed", WrongEndpoint),
        ("UNAVAILABLE", "Tls handshake failed: WRONG_VERSION_NUMBER", WrongEndpoint),
    ],
)
def test_every_status_becomes_one_typed_line(status: str, text: str, expected: type[ServerError]) -> None:
    error = server_error(status, text, "host:8001", 30)
    assert type(error) is expected
    assert str(error).startswith("host:8001: ") and len(str(error).splitlines()) == 1
