from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from deepfake_triton.gateway.server import Listening

pytestmark = pytest.mark.triton

ASYNC = {"Prefer": "respond-async"}


@dataclass(frozen=True)
class ServerSentEvent:
    """One event of a stream."""

    id: int
    name: str
    data: dict[str, Any]


def events_in(text: str) -> list[ServerSentEvent]:
    """Parse a stream of server-sent events."""
    events = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            events.append(ServerSentEvent(int(fields["id"]), fields["event"], json.loads(fields["data"])))
    return events


def eventually(holds: Callable[[], bool], timeout_s: float = 30) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "still not so"
        time.sleep(0.02)


def test_a_job_tells_its_events_and_replays_them(http: httpx.Client, clip_bytes: bytes) -> None:
    response = http.post("/v1/detect?windows=3&frames=8", content=clip_bytes, headers=ASYNC)
    assert response.status_code == 202 and response.headers["preference-applied"] == "respond-async"
    address, job = response.headers["location"], response.json()
    assert address == f"/v1/jobs/{job['id']}" and job["state"] in ("queued", "running")
    with http.stream("GET", f"{address}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.headers["x-accel-buffering"] == "no"
        assert stream.headers["cache-control"] == "no-store"
        events = events_in(stream.read().decode())
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    names = [event.name for event in events]
    assert names[0] == "queued" and names[-1] == "verdict"
    assert names.count("decoded") == 3 and names.count("window") == 3
    windows = [event.data for event in events if event.name == "window"]
    assert [window["windows_judged"] for window in windows] == [1, 2, 3]
    assert all(0 <= window["fake_probability"] <= 1 and window["num_faces"] == 1 for window in windows)

    job = http.get(address).json()
    assert job["state"] == "done" and job["result"] == events[-1].data and job["error"] is None
    assert job["progress"] == {"windows_decoded": 3, "windows_judged": 3, "num_windows": 3}
    for last in (2, len(events), 10**6):
        text = http.get(f"{address}/events", headers={"Last-Event-ID": str(last)}).text
        assert events_in(text) == events[last:]
    for malformed in ("x", "-1", "", "1" * 5000):
        text = http.get(f"{address}/events", headers={"Last-Event-ID": malformed}).text
        assert events_in(text) == events


def test_a_failed_job_says_why(http: httpx.Client) -> None:
    address = http.post("/v1/detect", content=b"no video", headers=ASYNC).headers["location"]
    (*_, last) = events_in(http.get(f"{address}/events").text)
    assert last.name == "failed" and last.data["type"] == "NotAVideo"
    job = http.get(address).json()
    assert (job["state"], job["error"]["error"], job["error"]["status"]) == ("failed", "NotAVideo", 422)
    assert job["result"] is None and job["error"]["detail"] == last.data["message"]


def test_a_canceled_job_asks_nothing_further(http: httpx.Client, clip_bytes: bytes) -> None:
    query = {"windows": 64, "frames": 1}
    address = http.post("/v1/detect", params=query, content=clip_bytes, headers=ASYNC).headers["location"]
    eventually(lambda: http.get(address).json()["progress"]["windows_judged"] >= 1)
    assert http.delete(address).status_code == 204
    job = http.get(address).json()
    assert job["state"] == "canceled" and job["result"] is None
    (*_, last) = events_in(http.get(f"{address}/events").text)
    assert last.name == "canceled"
    time.sleep(0.5)
    assert http.get(address).json()["progress"] == job["progress"]
    assert http.delete(address).status_code == 204, "an ended one is forgotten"
    assert http.get(address).status_code == http.delete(address).status_code == 404


def test_who_leaves_frees_the_slot(http: httpx.Client, clip_bytes: bytes) -> None:
    def running() -> float:
        return metric(http, "gateway_jobs_running")

    eventually(lambda: running() == 0)
    canceled = metric(http, 'gateway_jobs_total{outcome="canceled"}')
    with pytest.raises(httpx.ReadTimeout):
        http.post("/v1/detect?windows=64&frames=1", content=clip_bytes, timeout=0.7)
    eventually(lambda: running() == 0, 10)
    assert metric(http, 'gateway_jobs_total{outcome="canceled"}') == canceled + 1


def test_an_idempotency_key_names_one_request(http: httpx.Client, clip_bytes: bytes) -> None:
    named = {**ASYNC, "Idempotency-Key": "the-first"}
    first = http.post("/v1/detect?frames=4", content=clip_bytes, headers=named)
    again = http.post("/v1/detect?frames=4", content=clip_bytes, headers=named)
    assert first.status_code == again.status_code == 202
    assert first.json()["id"] == again.json()["id"]
    waited = http.post("/v1/detect?frames=4", content=clip_bytes, headers={"Idempotency-Key": "the-first"})
    assert waited.status_code == 200
    assert waited.json() == http.get(first.headers["location"]).json()["result"]
    for query, content in (("frames=5", clip_bytes), ("frames=4", clip_bytes[:-1])):
        other = http.post(f"/v1/detect?{query}", content=content, headers=named)
        assert (other.status_code, other.json()["error"]) == (422, "IdempotencyConflict")


def test_an_empty_idempotency_key_names_nothing(http: httpx.Client) -> None:
    asked = [
        http.post("/v1/detect", content=b"no video", headers={**ASYNC, "Idempotency-Key": ""}).json()
        for _ in range(2)
    ]
    assert asked[0]["id"] != asked[1]["id"]


def test_an_unknown_job_is_not_found(http: httpx.Client) -> None:
    for method, path in (("GET", ""), ("GET", "/events"), ("DELETE", "")):
        response = http.request(method, f"/v1/jobs/unknown{path}")
        assert (response.status_code, response.json()["error"]) == (404, "JobNotFound")


def test_a_full_queue_is_told_before_the_body(published_server: Any, clip_bytes: bytes) -> None:
    from running_gateway import running_gateway

    from deepfake_triton.gateway.settings import GatewaySettings, Limits

    settings = GatewaySettings(
        urls=(published_server.url,), port=0, grpc_port=None, limits=Limits(max_running=1, max_queued=1)
    )
    with (
        running_gateway(settings) as listening,
        httpx.Client(base_url=listening.url, trust_env=False) as http,
    ):
        long = "/v1/detect?windows=64&frames=1"
        jobs = [http.post(long, content=clip_bytes, headers=ASYNC) for _ in range(2)]
        assert [job.status_code for job in jobs] == [202, 202]
        assert jobs[1].json()["position"] == 1
        refused = http.post(long, content=clip_bytes)
        assert (refused.status_code, refused.json()["error"]) == (503, "GatewayBusy")
        assert int(refused.headers["retry-after"]) >= 1
        for job in jobs:
            assert http.delete(job.headers["location"]).status_code == 204


def metric(http: httpx.Client, name: str) -> float:
    """Read one number of /metrics."""
    (value,) = (
        line.rpartition(" ")[2]
        for line in http.get("/metrics").text.splitlines()
        if line.startswith(name + " ")
    )
    return float(value)


def test_the_fixture_listens_on_loopback(gateway: Listening) -> None:
    assert gateway.url.startswith("http://127.0.0.1:") and gateway.grpc is not None
