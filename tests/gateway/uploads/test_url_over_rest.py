"""A video by its URL through a real gateway and Triton; loopback stands in for a public address here."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest
from https_server import certificates_for, https_server, redirect, respond
from running_gateway import running_gateway

from deepfake_triton.gateway.settings import GatewaySettings
from deepfake_triton.gateway.uploads import public_addresses
from deepfake_triton.serving.server import TritonServer

pytestmark = pytest.mark.triton


def test_a_video_by_its_url_gets_the_verdict_of_its_upload(
    published_server: TritonServer, clip_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates = certificates_for(tmp_path, "videos.test")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    resolve, is_public = socket.getaddrinfo, public_addresses.is_public

    def getaddrinfo(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        return resolve("127.0.0.2" if host == "videos.test" else host, port, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(
        public_addresses,
        "is_public",
        lambda address: address == ipaddress.ip_address("127.0.0.2") or is_public(address),
    )
    scripts = {
        "/clip.mp4": respond(clip_path.read_bytes()),
        "/list.mp4": respond(b"#EXTM3U\n#EXTINF:5,\nhttp://127.0.0.1/segment.ts\n"),
        "/inside.mp4": redirect("https://127.0.0.1/clip.mp4"),
    }
    with https_server(certificates, scripts, "127.0.0.2") as videos:
        settings = GatewaySettings(
            urls=(published_server.url,), port=0, grpc_port=None, url_hosts=(f"videos.test:{videos.port}",)
        )
        with running_gateway(settings) as listening, httpx.Client(base_url=listening.url) as caller:

            def detect(url: str) -> dict[str, Any]:
                answer: dict[str, Any] = caller.post("/v1/detect", json={"url": url}, timeout=60).json()
                return answer

            uploaded = caller.post("/v1/detect", files={"file": clip_path.open("rb")}, timeout=60).json()
            fetched = detect(f"https://videos.test:{videos.port}/clip.mp4?token=secret")
            assert fetched.pop("video") == uploaded.pop("video").replace(clip_path.name, "clip.mp4")
            assert fetched.pop("latency_ms") and uploaded.pop("latency_ms")
            assert fetched == uploaded
            assert detect(f"https://videos.test:{videos.port}/list.mp4")["error"] == "NotAVideo"
            assert detect(f"https://videos.test:{videos.port}/inside.mp4")["error"] == "UrlRefused"
            assert detect("https://other.test/clip.mp4")["error"] == "UrlRefused"
            assert detect("file:///etc/passwd")["error"] == "UrlRefused"


def test_no_url_is_fetched_unless_allowed(published_server: TritonServer) -> None:
    settings = GatewaySettings(urls=(published_server.url,), port=0, grpc_port=None)
    with running_gateway(settings) as listening:
        answer = httpx.post(f"{listening.url}/v1/detect", json={"url": "https://example.org/clip.mp4"})
        assert (answer.status_code, answer.json()["error"]) == (403, "UrlRefused")
