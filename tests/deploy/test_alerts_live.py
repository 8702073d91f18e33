"""The chart's alerts on a real Prometheus, through an overload, a step that hangs, and a Triton's end."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from deploy_tools import CHART
from prometheus_server import Prometheus, faster, needs_prometheus, running_prometheus
from running_gateway import running_gateway
from serve_command import descendants

from deepfake_triton.client import DeepfakeClient, FrameBatch, RetryPolicy
from deepfake_triton.errors import DeepfakeError, ServerOverloaded
from deepfake_triton.export.repository.configs import config_from_text, config_text
from deepfake_triton.gateway.settings import GatewaySettings, Limits
from deepfake_triton.repository.approval import accept
from deepfake_triton.repository.files import CONFIG_NAME
from deepfake_triton.serving.server import ServerOptions, TritonServer

RULES = CHART / "files" / "rules.yaml"
FACTOR = 20
"""Five minutes are 15 seconds."""
WAITING = 3
"""Clips that Triton lets wait."""
TIMEOUT_S = 150.0
OVERLOADED = {"DeepfakeRefusing", "DeepfakeGatewayRefusing"}
pytestmark = [pytest.mark.slow, pytest.mark.alone, needs_prometheus]


@pytest.fixture
def server(default_repository: Path, tmp_path: Path) -> Iterator[TritonServer]:
    """A Triton that is soon too busy."""
    repository = tmp_path / "repository"
    shutil.copytree(default_repository, repository)
    path = repository / "face_detector" / CONFIG_NAME
    config = config_from_text(path.read_text())
    config.dynamic_batching.default_queue_policy.max_queue_size = WAITING
    path.write_text(config_text(config))
    accept(repository)
    with TritonServer(ServerOptions.on_free_ports(repository)) as running:
        yield running


def wait_until_firing(prometheus: Prometheus, wanted: set[str], *, only: bool = False) -> None:
    """Wait until these alerts fire; `only`: and none beside them."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        firing = prometheus.firing()
        if firing == wanted if only else firing >= wanted:
            return
        time.sleep(0.5)
    raise AssertionError(f"{firing} fire, not {wanted}")


@contextmanager
def callers(number: int, ask: object) -> Iterator[None]:
    """Call `ask` in so many threads over and over, until the context ends."""
    stopping = threading.Event()

    def repeat() -> None:
        while not stopping.is_set():
            with suppress(DeepfakeError, httpx.HTTPError):
                ask()  # type: ignore[operator]

    with ThreadPoolExecutor(number) as threads:
        asking = [threads.submit(repeat) for _ in range(number)]
        try:
            yield
        finally:
            stopping.set()
    for each in asking:
        each.result()


def process_of_step(server: TritonServer, step: str) -> int:
    """The process of a Python step of Triton."""
    (pid,) = [
        pid
        for pid in descendants(server.process.pid)
        if f"/{step}/" in Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    ]
    return pid


def test_alerts_fire_while_there_is_cause_and_name_it(
    server: TritonServer, clip_frames: FrameBatch, brief_clip: Path, tmp_path: Path
) -> None:
    clip = brief_clip.read_bytes()
    limits = Limits(max_running=3, max_queued=1, job_timeout_s=20)
    settings = GatewaySettings(urls=(server.url,), port=0, grpc_port=None, limits=limits)
    folder = tmp_path / "prometheus"
    folder.mkdir()
    with (
        running_gateway(settings) as gateway,
        DeepfakeClient(server.url, timeout_s=30, retry=RetryPolicy(attempts=1), max_in_flight=8) as client,
    ):
        targets = {
            "server": f"127.0.0.1:{server.metrics_port}",
            "gateway": gateway.url.removeprefix("http://"),
        }
        with running_prometheus(folder, targets, faster(RULES.read_text(), FACTOR)) as prometheus:
            prometheus.wait_for("count(up == 1) == 2")

            def upload() -> None:
                httpx.post(
                    f"{gateway.url}/v1/detect",
                    content=clip,
                    headers={"content-type": "video/mp4"},
                    timeout=90,
                    trust_env=False,
                )

            with callers(2, lambda: client.detect(clip_frames)):  # busy, and not too busy
                time.sleep(900 / FACTOR)
                assert prometheus.firing() == set()
            refused = threading.Event()

            def press() -> None:
                try:
                    client.detect(clip_frames)
                except ServerOverloaded:
                    refused.set()
                    raise

            with callers(8, press), callers(6, upload):
                wait_until_firing(prometheus, OVERLOADED)
            assert refused.is_set() and client.request_counts.refused[server.url] > 0
            wait_until_firing(prometheus, set(), only=True)

            step = process_of_step(server, "face_detector")
            with callers(3, lambda: client.detect(clip_frames)):
                os.kill(step, signal.SIGSTOP)
                try:
                    wait_until_firing(prometheus, {"DeepfakeTritonStalled"})
                    assert not prometheus.firing() & {"DeepfakeTritonDown", "DeepfakeTritonReplicaDown"}
                finally:
                    os.kill(step, signal.SIGCONT)
            wait_until_firing(prometheus, set(), only=True)

            server.process.kill()
            wait_until_firing(prometheus, {"DeepfakeTritonDown", "DeepfakeTritonReplicaDown"})
