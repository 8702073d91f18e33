from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from running_gateway import running_gateway

from deepfake_triton.gateway.access.key_file import create_key
from deepfake_triton.gateway.settings import GatewaySettings

pytestmark = pytest.mark.triton


@pytest.fixture
def anonymous(keyed_gateway: Any) -> Iterator[httpx.Client]:
    """A client of the gateway with keys that shows none."""
    with httpx.Client(base_url=keyed_gateway.listening.url, timeout=60, trust_env=False) as client:
        yield client


def bearer(key: str) -> dict[str, str]:
    """The header that shows a key."""
    return {"Authorization": f"Bearer {key}"}


def detail_of_refusal(client: httpx.Client, content: bytes, headers: dict[str, str]) -> str:
    """Send a video beyond a key's limits, and return what is told."""
    refused = client.post("/v1/detect", content=content, headers=headers)
    assert (refused.status_code, refused.json()["error"]) == (429, "RateLimited")
    assert int(refused.headers["retry-after"]) >= 1
    return str(refused.json()["detail"])


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/detect"), ("GET", "/v1/jobs/x"), ("GET", "/v1/jobs/x/events"), ("DELETE", "/v1/jobs/x"),
     ("GET", "/v1/limits"), ("GET", "/metrics")],
)  # fmt: skip
def test_a_key_is_needed(anonymous: httpx.Client, method: str, path: str) -> None:
    own_page = {"Sec-Fetch-Site": "same-origin"}
    for shown in ({}, bearer("dft_wrong"), {"X-API-Key": "wrong"}, {"Cookie": "deepfake_session=forged"}):
        response = anonymous.request(method, path, headers={**shown, **own_page})
        assert (response.status_code, response.json()["error"]) == (401, "Unauthenticated")
        assert response.headers["www-authenticate"].startswith("Bearer")


def test_probes_and_descriptions_need_no_key(anonymous: httpx.Client) -> None:
    for path in ("/healthz", "/readyz", "/openapi.json", "/v1/verdict.schema.json", "/problems/NotAVideo"):
        assert anonymous.get(path).status_code == 200
    assert anonymous.get("/openapi.json").json()["security"] == [{"bearer": []}, {"header": []}]


def test_the_servers_addresses_are_for_those_who_show_a_key(tmp_path: Path) -> None:
    key = create_key(tmp_path / "keys", "probe")
    settings = GatewaySettings(urls=("127.0.0.1:1",), port=0, grpc_port=None, api_keys=tmp_path / "keys")
    with running_gateway(settings) as gateway, httpx.Client(base_url=gateway.url, trust_env=False) as http:
        for shown in ({}, bearer("dft_wrong")):
            response = http.get("/readyz", headers=shown)
            assert (response.status_code, response.json()["error"]) == (503, "ServerUnreachable")
            assert "127.0.0.1" not in response.text and response.json()["detail"]
        assert "127.0.0.1:1" in http.get("/readyz", headers=bearer(key)).json()["detail"]


def test_callers_do_not_see_each_others_jobs(
    anonymous: httpx.Client, keyed_gateway: Any, clip_bytes: bytes
) -> None:
    first, second = bearer(keyed_gateway.first), {"X-API-Key": keyed_gateway.second}
    ask = {"Prefer": "respond-async", "Idempotency-Key": "same"}
    made = anonymous.post("/v1/detect?frames=1", content=clip_bytes, headers={**first, **ask})
    assert made.status_code == 202
    address = made.headers["location"]
    for method, path in (("GET", address), ("GET", f"{address}/events"), ("DELETE", address)):
        response = anonymous.request(method, path, headers=second)
        assert (response.status_code, response.json()["error"]) == (404, "JobNotFound")
    others = anonymous.post("/v1/detect?frames=2", content=clip_bytes, headers={**second, **ask})
    assert others.status_code == 202 and others.headers["location"] != address
    assert "event: verdict" in anonymous.get(f"{address}/events", headers=first).text
    assert anonymous.get(address, headers=first).json()["state"] == "done"


def test_jobs_at_once_and_rate_are_limited(
    anonymous: httpx.Client, keyed_gateway: Any, clip_bytes: bytes
) -> None:
    slow = {**bearer(keyed_gateway.slow), "Prefer": "respond-async"}
    made = anonymous.post("/v1/detect?windows=64&frames=1", content=clip_bytes, headers=slow)
    assert made.status_code == 202
    for _ in range(2):  # which the rate does not count
        assert "jobs at once" in detail_of_refusal(anonymous, clip_bytes, slow)
    assert anonymous.delete(made.headers["location"], headers=bearer(keyed_gateway.slow)).status_code == 204
    deadline = time.monotonic() + 30
    while (second := anonymous.post("/v1/detect?frames=1", content=clip_bytes, headers=slow)).is_error:
        assert "jobs at once" in second.json()["detail"] and time.monotonic() < deadline
        time.sleep(0.02)
    anonymous.get(f"{second.headers['location']}/events", headers=bearer(keyed_gateway.slow))  # to its end
    while "jobs at once" in (told := detail_of_refusal(anonymous, clip_bytes, slow)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert "2 per 1 hour" in told
    answered = anonymous.post("/v1/detect?frames=1", content=clip_bytes, headers=bearer(keyed_gateway.first))
    assert answered.status_code == 200
