"""The script that the image runs, with the real tritonserver."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from network import free_port
from paths import ROOT
from support import new_version

from deepfake_triton.export.repository.configs import config_from_text, config_text
from deepfake_triton.export.repository.layout import publish
from deepfake_triton.serving.http_api import HttpApi
from deepfake_triton.serving.triton_wheel import find_installation

START = ROOT / "serving" / "start.sh"

pytestmark = pytest.mark.triton


def test_it_becomes_triton_and_ends_as_triton(published_repository: Path, tmp_path: Path) -> None:
    installation = find_installation()
    installation.write_backends(tmp_path / "backends")
    environment = installation.environment()
    environment["PATH"] = f"{installation.executable.parent}{os.pathsep}{environment['PATH']}"
    environment["MODEL_REPOSITORY"] = str(published_repository)
    port = free_port()
    options = [f"--backend-directory={tmp_path / 'backends'}", "--http-address=127.0.0.1"]
    options += [f"--http-port={port}", "--allow-grpc=false", "--allow-metrics=false"]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen([START, *options], env=environment, stderr=log, stdout=log)
    try:
        api, deadline = HttpApi("127.0.0.1", port, secret=""), time.monotonic() + 120
        while not api.is_ready():
            assert server.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.1)
        assert api.versions("deepfake_detector", ("READY",)) == {1}
        command_line = Path(f"/proc/{server.pid}/cmdline").read_text().split("\0")
        assert command_line[0].endswith("tritonserver") and "--rate-limit=execution_count" in command_line
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)


def test_without_an_engine_for_the_gpu_it_says_so_and_starts_nothing(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    publish(new_version(tmp_path, 1), repository)
    for name in ("face_detector", "feature_extractor", "sequence_classifier"):
        path = repository / name / "config.pbtxt"
        config = config_from_text(path.read_text())
        config.backend = "tensorrt"
        path.write_text(config_text(config))
    environment = {**find_installation().environment(), "MODEL_REPOSITORY": str(repository)}
    done = subprocess.run([START], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no GPU here to build for" in done.stderr and done.stderr.count("\n") == 1
