"""The small copy of a video that the page plays: fetched, forgotten in time, without a trace."""

from __future__ import annotations

import hashlib
import secrets
import time
from pathlib import Path

import httpx
import pytest
from gateway_page import Clips, until
from gateway_process import gateway_process
from running_gateway import running_gateway

from deepfake_triton.gateway.jobs import jobs
from deepfake_triton.gateway.settings import GatewaySettings, Limits
from deepfake_triton.serving.server import TritonServer

pytestmark = pytest.mark.triton


def client(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=60, trust_env=False)


def send(http: httpx.Client, name: str, content: bytes) -> str:
    """Send a video as the form does, wait for its preview, and return the address of its page."""
    sent = http.post("/", data={"windows": "1"}, files={"file": (name, content, "video/mp4")})
    assert sent.status_code == 303
    address: str = sent.headers["location"]
    until(lambda: http.get(f"{address}/preview").json()["preview"] == "ready")
    return address


def test_a_fetched_preview_leaves_no_trace(
    default_server: TritonServer, clips: Clips, tmp_path: Path
) -> None:
    name, mark = f"{secrets.token_hex(8)}.mp4", secrets.token_hex(16)
    content = clips.forged.read_bytes() + mark.encode()
    with gateway_process(default_server.url, tmp_path) as gateway:
        with client(gateway.url) as http:
            address = send(http, name, content)
            preview = http.get(f"{address}/preview.mp4")
            part = http.get(f"{address}/preview.mp4", headers={"Range": "bytes=100-899"})
            assert preview.content[4:8] == b"ftyp" and part.content == preview.content[100:900]
            assert name in http.get(f"{address}/report.html").text
            while_kept = [path for path in tmp_path.rglob("*") if path.is_file()]
            assert while_kept == [gateway.log]
        gateway.process.terminate()
        assert gateway.process.wait(60) == 0
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert left == [gateway.log]
    log = gateway.log.read_text()
    assert "/jobs/{job_id}/preview.mp4 206" in log, "the log has its lines"
    digest = hashlib.sha256(content).hexdigest()
    for trace in (name, mark, digest, address.rpartition("/")[2]):
        assert trace not in log


def test_a_preview_is_forgotten_with_its_job(
    default_server: TritonServer, clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_SWEEP_S", 0.1)
    limits = Limits(retention_s=6)
    settings = GatewaySettings(urls=(default_server.url,), port=0, grpc_port=None, limits=limits)
    with running_gateway(settings) as listening, client(listening.url) as http:
        address = send(http, "a.mp4", clips.pristine.read_bytes())
        ready = time.monotonic()
        assert http.get(f"{address}/preview.mp4").status_code == 200
        assert "forgotten after 1 min" in http.get("/").text
        until(lambda: http.get(f"{address}/preview.mp4").status_code == 404, timeout_s=30)
        assert time.monotonic() - ready < 25
        for part in ("", "/preview", "/presentation", "/verdict.json", "/report.html"):
            answer = http.get(f"{address}{part}")
            assert answer.status_code == 404 and "kept for a short time only" in answer.text
