from __future__ import annotations

import re
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from gateway_process import gateway_process
from running_gateway import running_gateway

from deepfake_triton.errors import PortInUse
from deepfake_triton.gateway.server import Listening
from deepfake_triton.gateway.settings import GatewaySettings
from deepfake_triton.serving.server import TritonServer

pytestmark = pytest.mark.triton


def test_a_gateway_that_is_told_to_stop_answers_those_who_wait(
    published_server: TritonServer, clip_bytes: bytes, tmp_path: Path
) -> None:
    with (
        gateway_process(published_server.url, tmp_path) as gateway,
        ThreadPoolExecutor(1) as threads,
        httpx.Client(base_url=gateway.url, timeout=60, trust_env=False) as http,
    ):
        waiting = threads.submit(
            lambda: httpx.post(f"{gateway.url}/v1/detect?windows=6&frames=4", content=clip_bytes, timeout=60)
        )
        while "gateway_jobs_running 1.0" not in http.get("/metrics").text:
            time.sleep(0.02)
        gateway.process.terminate()
        answer = waiting.result()
        assert answer.status_code == 200 and len(answer.json()["faces"][0]["segments"]) >= 2
        assert gateway.process.wait(30) == 0
        with pytest.raises(httpx.ConnectError):
            http.get("/healthz")


def test_a_second_signal_does_not_wait_for_jobs(
    published_server: TritonServer, clip_bytes: bytes, tmp_path: Path
) -> None:
    with (
        gateway_process(published_server.url, tmp_path) as gateway,
        httpx.Client(base_url=gateway.url, timeout=60, trust_env=False) as http,
    ):
        for _ in range(3):
            query = {"windows": 64, "frames": 4}
            job = http.post(
                "/v1/detect", params=query, content=clip_bytes, headers={"Prefer": "respond-async"}
            )
            assert job.status_code == 202
        gateway.process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            gateway.process.wait(1)
        assert re.search(r"waiting for .* runs?, 30 s at most; a second signal", gateway.log.read_text())
        gateway.process.terminate()
        assert gateway.process.wait(20) == 0, "only the calls in flight are waited for"


def test_a_port_in_use_is_told(gateway: Listening) -> None:
    port = urlsplit(gateway.url).port or 0
    with (
        pytest.raises(PortInUse, match=str(port)),
        running_gateway(GatewaySettings(port=port, grpc_port=None)),
    ):
        pass


def test_without_a_triton_it_is_alive_and_not_ready(clip_bytes: bytes) -> None:
    settings = GatewaySettings(urls=("127.0.0.1:1",), port=0, grpc_port=None)
    with (
        running_gateway(settings) as gateway,
        httpx.Client(base_url=gateway.url, timeout=30, trust_env=False) as http,
    ):
        assert http.get("/healthz").status_code == 200
        ready = http.get("/readyz")
        assert (ready.status_code, ready.json()["error"]) == (503, "ServerUnreachable")
        limits = http.get("/v1/limits").json()
        assert limits["model"] is None and limits["operating_points"] == []


def test_who_stops_is_told_what_is_waited_for_and_a_slow_upload_is_not(
    published_server: TritonServer, clip_bytes: bytes, tmp_path: Path
) -> None:
    with gateway_process(published_server.url, tmp_path) as gateway:
        host, port = urlsplit(gateway.url).hostname, urlsplit(gateway.url).port
        with socket.create_connection((host, port), timeout=30) as upload:
            head = f"POST /v1/detect HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: video/mp4\r\n"
            upload.sendall(f"{head}Content-Length: 1000000\r\n\r\n".encode() + bytes(1000))
            time.sleep(0.5)  # it is being received
            began = time.monotonic()
            gateway.process.terminate()
            assert gateway.process.wait(15) == 0
            assert time.monotonic() - began < 10
        assert "Traceback" not in gateway.log.read_text()
        assert "waiting for" not in gateway.log.read_text()
