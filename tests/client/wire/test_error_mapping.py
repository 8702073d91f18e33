from __future__ import annotations

import pytest

from deepfake_triton.client.wire.error_mapping import server_error
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
    error = server_error(status, text, url="host:8001", timeout_s=30)
    assert type(error) is expected
    assert str(error).startswith("host:8001: ") and len(str(error).splitlines()) == 1


def test_a_proxy_on_the_way_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://me:secret@proxy.org:3128")
    text = "failed to connect to all addresses; last error: HTTP proxy returned response code 403"
    error = server_error("UNAVAILABLE", text, url="triton.org:8001", timeout_s=5.0)
    assert isinstance(error, ServerUnreachable)
    assert "http_proxy (proxy.org:3128)" in str(error) and "no_proxy" in str(error)
    assert "secret" not in str(error)
    assert "proxy.org" not in str(
        server_error("UNAVAILABLE", "Socket closed", url="127.0.0.1:8001", timeout_s=5.0)
    )


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.97302, "3.97 s"), (0.00123, "0.00123 s"), (30, "30 s"), (604_800.0, "605000 s")]
)
def test_times_are_short(seconds: float, text: str) -> None:
    assert f"no answer within {text};" in str(
        server_error("DEADLINE_EXCEEDED", "", url="host:8001", timeout_s=seconds)
    )
