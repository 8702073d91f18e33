"""The command `web`, really started: with a Triton of its own, beside another, and where it cannot."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import httpx
import pytest
from network import free_port
from serve_command import alive, descendants, wait_until
from web_command import refused, running_web

from deepfake_triton.commands.default_repository import code_fingerprint
from deepfake_triton.host.onnx_runtime import installed_builds
from deepfake_triton.serving.server import TritonServer

pytestmark = pytest.mark.triton


def test_one_command_serves_and_judges_and_leaves_nothing_running(
    default_repository: Path, clip_path: Path, tmp_path: Path
) -> None:
    """Without DIR: the repository is in the cache already."""
    engine = "openvino" if "onnxruntime-openvino" in installed_builds() else "cpu"
    cached = tmp_path / "deepfake-triton" / "repositories" / f"{code_fingerprint()[:16]}-{engine}"
    cached.parent.mkdir(parents=True)
    cached.symlink_to(default_repository)
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    with running_web(environment=environment) as gateway, httpx.Client(base_url=gateway.page) as browser:
        assert gateway.page.startswith("http://127.0.0.1:")
        assert browser.get("/readyz").status_code == 200
        assert "<html" in browser.get("/").text
        answer = browser.post("/v1/detect", files={"file": clip_path.open("rb")}, timeout=60).json()
        assert (answer["video"], answer["verdict"]) == (clip_path.name, "REAL")
        processes = descendants(gateway.process.pid)
        assert processes
        gateway.process.send_signal(signal.SIGTERM)
        said, errors = gateway.process.communicate(timeout=120)
        assert (gateway.process.returncode, said) == (0, "stopped\n")
        assert errors.splitlines() == [f"deepfake-triton: starting Triton with {cached}"]
        assert wait_until(lambda: not alive(processes), 5)


def test_beside_a_triton_that_runs(published_server: TritonServer, clip_path: Path) -> None:
    with running_web("--url", published_server.url, "--max-upload", "200K") as gateway:
        assert f"Triton   {published_server.url}" in gateway.said
        assert httpx.post(f"{gateway.page}/v1/detect", content=bytes(300_000)).status_code == 413
        port = gateway.page.rpartition(":")[2]
        taken = refused("--url", published_server.url, "--port", port)
        assert f"--port {port}: another process listens" in taken[-1]
        gateway.process.send_signal(signal.SIGINT)
        assert gateway.process.communicate(timeout=60) == ("stopped\n", "")
        assert gateway.process.returncode == 0


def test_a_folder_that_is_no_repository_ends_it(tmp_path: Path) -> None:
    port = str(free_port())
    assert str(tmp_path) in refused(tmp_path, "--port", port)[-1]


@pytest.mark.parametrize(("host", "shown"), [("0.0.0.0", "127.0.0.1"), ("[::1]", "[::1]")])
def test_the_address_that_is_shown_is_one_that_answers(
    host: str, shown: str, published_server: TritonServer
) -> None:
    options = ("--url", published_server.url, "--host", host, "--no-api-keys", "--retention", "20s")
    with running_web(*options) as gateway:
        assert gateway.page.startswith(f"http://{shown}:") and gateway.grpc.startswith(f"{shown}:")
        assert httpx.get(f"{gateway.page}/healthz").status_code == 200
        assert gateway.said.endswith("verdicts for 20 s\n")
        assert ("any of its addresses" in gateway.said) == (host == "0.0.0.0")


@pytest.mark.parametrize("form", ["text", "json"])
def test_requests_are_logged_where_that_is_asked_for(form: str, published_server: TritonServer) -> None:
    with running_web("--url", published_server.url, "--log", form) as gateway:
        answer = httpx.get(f"{gateway.page}/v1/jobs/a-secret-id")
        gateway.process.terminate()
        _, errors = gateway.process.communicate(timeout=60)
    (line,) = errors.splitlines()
    assert "a-secret-id" not in line
    if form == "json":
        logged = json.loads(line)
        assert 0 < logged.pop("seconds") < 10 and logged.pop("time")
        assert logged == {
            **{"level": "info", "event": "request", "method": "GET", "route": "/v1/jobs/{job_id}"},
            **{"status": 404, "request_id": answer.headers["X-Request-ID"]},
        }
    else:
        assert re.search(r"GET /v1/jobs/\{job_id\} 404 \d+ ms ", line)
        assert line.endswith(answer.headers["X-Request-ID"])
