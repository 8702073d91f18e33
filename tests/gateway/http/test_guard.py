from __future__ import annotations

import logging
import time

import httpx
import pytest

from deepfake_triton.gateway.access.headers import SECURITY_HEADERS
from deepfake_triton.gateway.page import routes
from deepfake_triton.gateway.rest import service_info

pytestmark = pytest.mark.triton

SECRET = "holiday of a stranger.mp4"


def broken(*_: object) -> None:
    """Fail as only a mistake in the gateway does."""
    raise LookupError(SECRET)


@pytest.mark.parametrize("path", ["/v1/limits", "/"])
def test_an_error_of_the_gateway_itself_is_guarded_too(
    http: httpx.Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    caplog.set_level(logging.INFO, "deepfake_triton.gateway.requests")
    monkeypatch.setattr(service_info, "_limits_object", broken)
    monkeypatch.setattr(routes, "_points", broken)
    response = http.get(path)
    assert response.status_code == 500 and response.json()["error"] == "Http500"
    assert all(response.headers[name] == value for name, value in SECURITY_HEADERS.items())
    request_id = response.headers["x-request-id"]
    deadline = time.monotonic() + 10
    while not (lines := [message for message in caplog.messages if message.startswith("GET")]):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (line,) = lines
    assert line.startswith(f"GET {path} 500 ") and line.endswith(request_id)
    (told,) = (message for message in caplog.messages if "LookupError" in message)
    assert request_id in told and "test_guard.py" in told and " broken" in told
    assert SECRET not in caplog.text + response.text


@pytest.mark.parametrize(
    "path", ["/", "/healthz", "/v1/limits", "/static/page.css", "/problems/NotAVideo", "/no"]
)
def test_head_is_get_without_the_body(http: httpx.Client, path: str) -> None:
    got, head = http.get(path), http.head(path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    for name in ("content-type", "content-length", "content-security-policy"):
        assert head.headers.get(name) == got.headers[name]


def test_head_where_nothing_is_to_get(http: httpx.Client) -> None:
    assert http.head("/v1/detect").status_code == 405
    assert "HEAD" in http.put("/healthz").headers["allow"]
    assert "HEAD" not in http.get("/v1/detect").headers["allow"]


def test_head_of_a_stream_does_not_wait_for_its_end(http: httpx.Client, clip_bytes: bytes) -> None:
    ask = {"Prefer": "respond-async"}
    job = http.post("/v1/detect?windows=64&frames=1", content=clip_bytes, headers=ask).headers["location"]
    began = time.monotonic()
    head = http.head(f"{job}/events")
    assert head.headers["content-type"].startswith("text/event-stream") and head.content == b""
    assert time.monotonic() - began < 5 and http.get(job).json()["state"] in ("queued", "running")
    assert http.delete(job).status_code == 204
