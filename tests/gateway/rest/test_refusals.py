from __future__ import annotations

import json
import logging
import socket
import time
from urllib.parse import urlsplit

import httpx
import pytest
from running_gateway import running_gateway

from deepfake_triton.gateway.access.headers import SECURITY_HEADERS
from deepfake_triton.gateway.http import guard, protocol
from deepfake_triton.gateway.server import Listening
from deepfake_triton.gateway.settings import GatewaySettings, Limits
from deepfake_triton.serving.server import TritonServer

pytestmark = pytest.mark.triton

TOO_MUCH = 3 * 2**30
LOCAL = "Host: localhost"


def connect(gateway: Listening) -> socket.socket:
    """Open a connection to its HTTP port."""
    address = urlsplit(gateway.url)
    return socket.create_connection((address.hostname, address.port), timeout=20)


def answer_to(gateway: Listening, *lines: str, body: bytes = b"", times: int = 0) -> str:
    """Send a request as it stands, and its body as often as it is taken; return all that comes back."""
    with connect(gateway) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        for _ in range(times):
            connection.sendall(body)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
        return b"".join(parts).decode()


@pytest.mark.parametrize(
    ("target", "headers", "status", "error"),
    [
        ("/v1/detect", [LOCAL, f"Content-Length: {TOO_MUCH}"], 413, "UploadTooLarge"),
        ("/v1/detect?file=/etc/passwd", [LOCAL, "Content-Length: 9"], 422, "InvalidOption"),
        ("/v1/detect?frames=1_0", [LOCAL, "Content-Length: 9"], 422, "InvalidOption"),
        ("/v1/detect?frames=%2B5", [LOCAL, "Content-Length: 9"], 422, "InvalidOption"),
        ("/v1/detect?windows=0", [LOCAL, "Content-Length: 9"], 422, "InvalidOption"),
        ("/v1/detect?frames=5&frames=6", [LOCAL, "Content-Length: 9"], 422, "InvalidOption"),
        ("/v1/detect?windows=1001", [LOCAL, "Content-Length: 9"], 422, "InvalidFrames"),
        ("/v1/detect?frames=65", [LOCAL, "Content-Length: 9"], 422, "InvalidOption"),
        ("/v1/detect?operating_point=x", [LOCAL, "Content-Length: 9"], 422, "InvalidOption"),
        ("/v1/detect", ["Host: evil.example", "Content-Length: 9"], 403, "AccessRefused"),
        ("/v1/detect", [LOCAL, "Origin: http://evil.example", "Content-Length: 9"], 403, "AccessRefused"),
        ("/v1/detect", [LOCAL, "Webhook-URL: https://a.b/", "Content-Length: 9"], 403, "UrlRefused"),
        ("/v1/detect", [LOCAL, "Content-Encoding: gzip", "Content-Length: 9"], 415, "Http415"),
        ("/v1/detekt", [LOCAL, "Content-Length: 9"], 404, "Http404"),
    ],
)  # fmt: skip
def test_a_refusal_comes_before_the_body_is_asked_for(
    gateway: Listening, http: httpx.Client, target: str, headers: list[str], status: int, error: str
) -> None:
    assert http.get("/readyz").status_code == 200  # the model is known
    answer = answer_to(gateway, f"POST {target} HTTP/1.1", *headers, "Expect: 100-continue")
    assert answer.startswith(f"HTTP/1.1 {status} "), answer
    assert "100 Continue" not in answer and f'"error": "{error}"' in answer
    assert "connection: close" in answer and "application/problem+json" in answer
    assert "content-security-policy: default-src 'self'" in answer or status == 400


def test_what_is_wrong_is_told_without_a_strangers_text_and_counted(http: httpx.Client) -> None:
    refused = 'gateway_refused_total{error="InvalidOption"}'
    before = number_in(http.get("/metrics").text, refused)
    response = http.post("/v1/detect", params={"windows": "few", "my-secret": "1", "other-secret": "2"})
    assert (response.status_code, response.json()["error"]) == (422, "InvalidOption")
    detail = response.json()["detail"]
    assert "secret" not in detail and detail.count("unknown parameter") == 1
    assert "windows: Input should be a valid integer" in detail
    assert number_in(http.get("/metrics").text, refused) == before + 1


def test_who_sends_a_body_all_the_same_can_read_the_refusal(gateway: Listening) -> None:
    """Without lingering the connection is reset, and the answer lost."""
    lines = ("POST /v1/detect HTTP/1.1", LOCAL, f"Content-Length: {TOO_MUCH}")
    answer = answer_to(gateway, *lines, body=b"x" * 65536, times=100)
    assert answer.startswith("HTTP/1.1 413 ")


def test_a_body_that_turns_out_too_large_is_refused(published_server: TritonServer) -> None:
    settings = GatewaySettings(
        urls=(published_server.url,), port=0, grpc_port=None, limits=Limits(max_upload_bytes=100_000)
    )
    with running_gateway(settings) as gateway:
        lines = ("POST /v1/detect HTTP/1.1", LOCAL, "Transfer-Encoding: chunked")
        chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
        answer = answer_to(gateway, *lines, body=chunk, times=50)
        assert answer.startswith("HTTP/1.1 413 ") and "UploadTooLarge" in answer


def test_a_full_disk_is_told_before_the_body(published_server: TritonServer) -> None:
    limits = Limits(spool_reserve_bytes=2**60)
    settings = GatewaySettings(urls=(published_server.url,), port=0, grpc_port=None, limits=limits)
    with running_gateway(settings) as gateway:
        answer = answer_to(gateway, "POST /v1/detect HTTP/1.1", LOCAL, "Content-Length: 9")
        assert answer.startswith("HTTP/1.1 507 ") and "SpoolFull" in answer


@pytest.mark.parametrize(
    ("lines", "status", "says"),
    [
        (("NONSENSE", LOCAL), 400, "illegal request line"),
        (("GET / FTP/1.1", LOCAL), 400, "illegal request line"),
        (("GET /\x00 HTTP/1.1", LOCAL), 400, "illegal request line"),
        (("GET / HTTP/1.1",), 400, "Host"),
        (("GET / HTTP/1.1", LOCAL, "secret name: x"), 400, "illegal header line"),
        (("POST / HTTP/1.1", LOCAL, "Content-Length: secret"), 400, "Content-Length"),
        (("POST / HTTP/1.1", LOCAL, "Transfer-Encoding: secret"), 501, "Transfer-Encoding"),
        (("GET / HTTP/1.1", LOCAL, "X-Long: " + "x" * 2**20), 431, "32768 bytes"),
    ],
    ids=lambda value: None if isinstance(value, tuple) else str(value),
)
def test_a_malformed_request_gets_a_problem(
    gateway: Listening, lines: tuple[str, ...], status: int, says: str
) -> None:
    head, _, body = answer_to(gateway, *lines).partition("\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ") and "application/problem+json" in head
    assert all(f"{name}: {value}" in head for name, value in SECURITY_HEADERS.items())
    problem = json.loads(body)
    assert (problem["status"], problem["error"]) == (status, f"Http{status}")
    assert says in problem["detail"] and "secret" not in body and "NONSENSE" not in body


def test_a_body_measured_in_two_ways_ends_the_connection(gateway: Listening) -> None:
    """A proxy that counts by the other header would take the rest for a request."""
    lines = ("POST /session HTTP/1.1", LOCAL, "Content-Length: 6", "Transfer-Encoding: chunked")
    answer = answer_to(
        gateway, *lines, body=b"0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", times=1
    )
    assert "connection: close" in answer and answer.count("HTTP/1.1 ") == 1


def test_a_missing_page_is_a_page_for_browsers(http: httpx.Client) -> None:
    page = http.get("/<no>", headers={"Accept": "text/html,*/*;q=0.8"})
    assert page.status_code == 404 and page.headers["content-type"].startswith("text/html")
    assert "<h1>Not Found</h1>" in page.text and "no>" not in page.text
    assert http.get("/no").json()["error"] == "Http404"


def test_malformed_requests_do_not_fill_the_log(
    gateway: Listening, http: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    assert answer_to(gateway, "NONSENSE", LOCAL).startswith("HTTP/1.1 400 ")
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert http.post("/v1/detect", content=b"no boundary", headers=headers).status_code == 400
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_slow_headers_end_the_connection(gateway: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEADER_TIMEOUT_S", 0.5)
    for start in (b"", b"GET / HT"):
        began = time.monotonic()
        with connect(gateway) as connection:
            connection.sendall(start)
            assert connection.recv(100) == b""
        assert 0.4 < time.monotonic() - began < 5


def test_a_connection_serves_several_requests(http: httpx.Client, clip_bytes: bytes) -> None:
    for _ in range(3):
        response = http.post("/v1/detect?frames=1", content=clip_bytes)
        assert response.status_code == 200 and "connection" not in response.headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/detect", 405), ("PUT", "/healthz", 405), ("GET", "/v1/x", 404)],
)
def test_the_frameworks_own_refusals_are_problems(
    http: httpx.Client, method: str, path: str, status: int
) -> None:
    response = http.request(method, path)
    assert response.status_code == response.json()["status"] == status
    assert response.headers["content-type"] == "application/problem+json"
    assert ("allow" in response.headers) == (status == 405)


def test_too_many_requests_at_once_are_told_when_to_come_back(
    http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "MAX_REQUESTS", 0)
    response = http.get("/v1/limits")
    assert (response.status_code, response.json()["error"]) == (503, "GatewayBusy")
    assert int(response.headers["retry-after"]) >= 1
    assert "queue" not in response.text, "it is not the queue that is full"
    for probe in ("/healthz", "/readyz", "/metrics"):
        assert http.get(probe).status_code == 200
    monkeypatch.undo()
    assert http.get("/v1/limits").status_code == 200


def test_a_cut_upload_leaves_nothing_behind(gateway: Listening, http: httpx.Client) -> None:
    refused = 'gateway_refused_total{error="UploadMalformed"}'
    before = number_in(http.get("/metrics").text, refused)
    with connect(gateway) as connection:
        head = ("POST /v1/detect HTTP/1.1", LOCAL, "Content-Length: 1000000", "", "")
        connection.sendall("\r\n".join(head).encode() + b"x" * 500_000)
    deadline = time.monotonic() + 10
    while number_in(http.get("/metrics").text, refused) <= before:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert number_in(http.get("/metrics").text, "gateway_jobs_running") == 0


def number_in(metrics: str, name: str) -> float:
    """Read a number of /metrics; 0 where it is not counted yet."""
    lines = [line for line in metrics.splitlines() if line.startswith(f"{name} ")]
    return float(lines[0].rpartition(" ")[2]) if lines else 0.0
