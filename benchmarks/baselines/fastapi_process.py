"""Baseline: the FastAPI service in a process of its own, called over HTTP with the video file."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deepfake_triton.benchmarks.baselines.baseline import Predictor
from deepfake_triton.errors import DeepfakeError, InferenceFailed
from deepfake_triton.serving.process.child import end_with_parent

_START_TIMEOUT_S, _CALL_TIMEOUT_S = 120.0, 300.0


@contextmanager
def fastapi_predictor(repository: Path, *, micro_batching: bool) -> Iterator[Predictor]:
    """Start the service, and yield a call to it, which keeps one connection for each thread.

    Raises DeepfakeError when the service does not start.
    """
    port = _free_port()
    command = [
        sys.executable,
        "-m",
        "deepfake_triton.benchmarks.baselines.fastapi_service",
        str(repository),
        str(port),
    ]
    process = subprocess.Popen(
        [*command, *(["--micro-batching"] if micro_batching else [])],
        preexec_fn=end_with_parent,  # noqa: PLW1509 - one system call, no locks
    )
    local = threading.local()

    def predict(video: Path) -> float:
        connection = getattr(local, "connection", None) or http.client.HTTPConnection(
            "127.0.0.1", port, timeout=_CALL_TIMEOUT_S
        )
        local.connection = connection
        connection.request("POST", "/predict", video.read_bytes())
        response = connection.getresponse()
        answer = response.read()
        if response.status != http.HTTPStatus.OK:
            raise InferenceFailed(
                f"FastAPI answers {response.status}: {answer.decode(errors='replace')[:200]}"
            )
        return float(json.loads(answer)["fake_probability"])

    try:
        _wait_until_ready(port, process)
        yield predict
    finally:
        process.terminate()
        process.wait()


def _wait_until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/openapi.json")
            connection.getresponse().read()
            return
        except OSError:
            time.sleep(0.2)
    raise DeepfakeError("the FastAPI service to compare with did not start; its reason stands above")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
