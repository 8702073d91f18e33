"""Tritons of the chart that are killed or stopped under steady load, and callers that vanish, on hosts with
delay and loss between them. None of the callers that stay sees a failure."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from chart_cluster import Release, needs_envoy, release
from cluster_pods import Pod
from deploy_tools import needs_helm
from network_hosts import needs_hosts
from serve_command import triton_below, wait_until
from steady_load import Load, steady_load

pytestmark = [pytest.mark.slow, pytest.mark.alone, needs_helm, needs_hosts, needs_envoy]
UPLOADS = 6
UPLOAD = """
import sys, threading, urllib.request

def upload():
    while True:
        with urllib.request.urlopen(urllib.request.Request(sys.argv[1], clip, headers)) as answer:
            answer.read()
        print("answered", flush=True)

clip = open(sys.argv[2], "rb").read()
headers = {"Content-Type": "video/mp4", "Host": sys.argv[3]}
for _ in range(int(sys.argv[4])):
    threading.Thread(target=upload).start()
"""


@pytest.fixture(scope="module")
def running(default_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """Envoy and three Tritons."""
    with release(tmp_path_factory.mktemp("release")) as started:
        started.start_tritons(3, default_repository)
        started.start_envoy()
        yield started


@dataclass(frozen=True)
class Loads:
    """Callers of the headless Service, and callers of Envoy."""

    running: Release
    turning: Load
    proxied: Load

    @contextmanager
    def through(self, name: str) -> Iterator[None]:
        """Something happens inside; all Tritons are ready again afterwards, and no request has failed."""
        for load in (self.turning, self.proxied):
            load.wait_for(4)
        before = len(self.turning.outcomes), len(self.proxied.outcomes)
        yield
        assert wait_until(lambda: all(pod.is_ready() for pod in self.running.tritons), 300)
        for load in (self.turning, self.proxied):
            load.wait_for(6)  # those that were on their way, too
        for way, load, first in zip(
            ("round robin", "Envoy"), (self.turning, self.proxied), before, strict=True
        ):
            print(f"{name}, {way}: {Load(load.process, load.outcomes[first:]).figures}")
            assert load.failed == []


@pytest.fixture(scope="module")
def loads(running: Release) -> Iterator[Loads]:
    """Callers on both ways, who ask all the time."""
    with (
        steady_load(running.cluster, running.address("-headless"), callers=2) as turning,
        steady_load(running.cluster, running.address("-envoy"), callers=2) as proxied,
    ):
        yield Loads(running, turning, proxied)


def tritons(running: Release) -> list[int]:
    """Process ids of the tritonservers."""
    return [triton_below(pod.process.pid) for pod in running.tritons]


def wait_until_steady(pod: Pod, *, seconds: float = 20, timeout_s: float = 300) -> None:
    """Until a pod was ready for so long with the same Triton: one that was stopped may take its Python steps
    for lost when it goes on, and `serve` starts it again."""
    deadline, since, known = time.monotonic() + timeout_s, time.monotonic(), 0
    while time.monotonic() < since + seconds:
        assert time.monotonic() < deadline, pod.log.read_text()
        found = 0
        with contextlib.suppress(AssertionError):  # between two Tritons
            found = triton_below(pod.process.pid) if pod.is_ready() else 0
        if found != known or not found:
            since, known = time.monotonic(), found
        time.sleep(0.5)


def test_a_triton_that_is_killed_comes_back(running: Release, loads: Loads) -> None:
    pod = running.tritons[0]
    killed = triton_below(pod.process.pid)
    with loads.through("kill -9 of a Triton"):
        os.kill(killed, signal.SIGKILL)
        time.sleep(1)
        assert wait_until(pod.is_ready, 300)
    assert triton_below(pod.process.pid) != killed
    assert "ended by SIGKILL: starting it again" in pod.log.read_text()


def test_a_container_that_is_killed_is_replaced(
    running: Release, loads: Loads, default_repository: Path
) -> None:
    """All its processes at once, with whatever they had in hand."""
    pod = running.tritons.pop(0)
    with loads.through("kill -9 of a container"):
        os.kill(pod.pid, signal.SIGKILL)
        assert pod.process.wait(60) != 0
        pod.leave()
        running.take_in(running.start_triton(default_repository))
    assert len(running.tritons) == 3


def test_a_container_that_is_stopped_costs_time_only(running: Release, loads: Loads) -> None:
    """Connections to it are given up, by Envoy after 40 s and by the client after 20 s, and others answer."""
    pod = running.tritons[0]
    with loads.through("SIGSTOP"):
        pod.signal_all(signal.SIGSTOP)
        try:
            for load in (loads.turning, loads.proxied):
                load.wait_for(6)
            assert wait_until(lambda: pod.host.address not in running.endpoints("-headless"))
        finally:
            pod.signal_all(signal.SIGCONT)
    assert wait_until(lambda: pod.host.address in running.endpoints("-headless"), 60)
    wait_until_steady(pod)


def test_callers_of_the_gateway_who_vanish_harm_no_triton(
    running: Release, loads: Loads, clip_path: Path
) -> None:
    """It never cancels what it asked for."""
    gateway = running.start_gateway()
    before, logs = tritons(running), [pod.log.read_text() for pod in running.tritons]
    name = running.service("-gateway")
    words = [gateway.url("http", "/v1/detect"), str(clip_path), name, str(UPLOADS)]
    with loads.through("vanished from the gateway"):
        for _ in range(3):
            host = running.cluster.network.host()
            with subprocess.Popen(
                [*host.entering(), sys.executable, "-c", UPLOAD, *words], stdout=subprocess.PIPE
            ) as vanishing:
                assert vanishing.stdout is not None
                try:
                    for _ in range(2):
                        assert vanishing.stdout.readline() == b"answered\n"
                finally:
                    vanishing.kill()
        time.sleep(5)
    assert tritons(running) == before and [pod.log.read_text() for pod in running.tritons] == logs


def test_callers_of_envoy_who_vanish_cost_others_nothing(running: Release, loads: Loads) -> None:
    """Envoy cancels their calls, of which Triton 2.51 may die: `serve` has it back, and others are asked."""
    before = tritons(running)
    with loads.through("vanished from Envoy"):
        for _ in range(3):
            with steady_load(running.cluster, running.address("-envoy"), callers=8, pause_s=0) as vanishing:
                vanishing.wait_for(6)
                vanishing.process.kill()
                vanishing.process.wait(30)
        time.sleep(5)
    print("Tritons that died:", sum(old != new for old, new in zip(before, tritons(running), strict=True)))
