"""The form without JavaScript, asked directly: what it refuses, and the page that says so."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from gateway_page import Clips, until
from running_gateway import running_gateway

from deepfake_triton.gateway.server import Listening
from deepfake_triton.gateway.settings import GatewaySettings, Webhooks
from deepfake_triton.serving.server import TritonServer

pytestmark = pytest.mark.triton


@pytest.fixture
def http(page_gateway: Listening) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=page_gateway.url, timeout=60, trust_env=False) as client:
        yield client


def clip_part(clips: Clips, name: str = "a.mp4") -> dict[str, tuple[str, bytes, str]]:
    return {"file": (name, clips.pristine.read_bytes(), "video/mp4")}


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"windows": "0"}, 422, "The number of windows or frames is out of range"),
        ({"windows": "9" * 30}, 422, "The number of windows or frames is out of range"),
        ({"windows": "00000000199999"}, 422, "The number of windows or frames is out of range"),
        ({"windows": "000000001" + "9" * 5000}, 422, "The number of windows or frames is out of range"),
        ({"windows": "1001"}, 422, "The number of windows or frames is out of range"),
        ({"windows": "two"}, 422, "The number of windows or frames is out of range"),
        ({"operating_point": "<b>none</b>"}, 422, "One of the options is not known here"),
    ],
)
def test_wrong_settings_are_refused_on_a_page(
    http: httpx.Client, clips: Clips, fields: dict[str, str], status: int, said: str
) -> None:
    assert http.get("/").status_code == 200
    answer = http.post("/", data=fields, files=clip_part(clips))
    assert answer.status_code == status and said in answer.text
    assert answer.headers["content-type"].startswith("text/html") and "<b>none" not in answer.text


def test_a_form_without_a_file_is_refused_on_a_page(http: httpx.Client) -> None:
    empty = http.post("/", data={"windows": "1"}, files={"file": ("", b"", "application/octet-stream")})
    assert empty.status_code == 400 and "The upload held no file" in empty.text
    assert http.post("/", data={"windows": "1"}).status_code == 400


def test_a_failure_is_a_result_that_can_be_saved(http: httpx.Client) -> None:
    name = '"><script>alert(1)<i>.mp4'
    sent = http.post("/", files={"file": (name, b"no video" * 300, "video/mp4")})
    address = sent.headers["location"]
    until(lambda: 'class="verdict failed"' in http.get(address).text)
    page = http.get(address).text
    assert "&gt;&lt;script&gt;alert(1)&lt;i&gt;.mp4" in page and "<script>alert" not in page
    saved = http.get(f"{address}/verdict.json").json()
    assert saved["error"]["type"] == "NotAVideo" and saved["verdict"] is None
    assert "NotAVideo" in http.get(f"{address}/verdict.csv").text
    assert "<script" not in http.get(f"{address}/report.html").text
    assert http.get(f"{address}/preview.mp4").status_code == 409


def test_pages_are_not_stored_and_run_nothing_from_elsewhere(http: httpx.Client) -> None:
    for path in ("/", "/jobs/none"):
        headers = http.get(path).headers
        assert headers["cache-control"] == "no-store"
        assert headers["content-security-policy"].startswith("default-src 'self'")
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["content-language"] == "en"


def malformed(http: httpx.Client) -> float:
    """Number of refused forms so far."""
    said = re.search(r'gateway_refused_total\{error="UploadMalformed"\} (\S+)', http.get("/metrics").text)
    return float(said[1]) if said else 0.0


@pytest.mark.parametrize("path", ["/session", "/session/end"])
def test_who_leaves_in_the_middle_of_a_form_leaves_no_traceback(
    page_gateway: Listening, http: httpx.Client, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    place, before = urlsplit(page_gateway.url), malformed(http)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            with socket.create_connection((place.hostname, place.port)) as sender:
                head = f"POST {path} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: 4000\r\n\r\nkey=a"
                sender.sendall(head.encode())
        until(lambda: malformed(http) == before + 3, timeout_s=5)
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


def test_the_page_says_where_results_go(default_server: TritonServer, http: httpx.Client) -> None:
    assert "Nothing is sent anywhere else." in http.get("/").text
    hooks = Webhooks(secret="a secret of some length", url="http://127.0.0.1:9/verdicts")
    settings = GatewaySettings(urls=(default_server.url,), port=0, grpc_port=None, webhooks=hooks)
    with running_gateway(settings) as listening:
        text = httpx.get(listening.url, trust_env=False).text
    assert "reported to an address that whoever runs this server chose" in text
    assert "Nothing is sent anywhere else." not in text
