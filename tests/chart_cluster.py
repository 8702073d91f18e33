"""A release of the chart on a test's network: Tritons, Envoy, gateway; and what each Triton judged."""

from __future__ import annotations

import contextlib
import re
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cluster_names import cluster_names
from cluster_pods import Cluster, Pod, cluster_of, start_pod
from deploy_tools import TOOLS, Manifest, named, of_kind, render_with
from network_hosts import network
from serve_command import COMMAND

ENVOY = TOOLS / "bin" / "envoy"
needs_envoy = pytest.mark.skipif(not ENVOY.exists(), reason=".venv-deploy is missing: make test builds it")
PRE_STOP_S = 8
"""Longer than a DNS answer is kept and Envoy takes to ask again, as the chart's own 35 s are on a cluster."""
_JUDGED = re.compile(r'nv_inference_request_success\{model="face_detector",[^}]*\} (\d+)')


class Tally:
    """Clips that one Triton judged, by its own metric, read until it is gone.

    It is the first step's, since the ensemble's vanishes when it drains; what the warm-up computed does not
    count.
    """

    def __init__(self, pod: Pod) -> None:
        self._pod, self._before_restart = pod, 0
        while (warm_up := self._read()) is None:
            assert pod.process.poll() is None, pod.log.read_text()
        self._last = self._warm_up = warm_up
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    @property
    def judged(self) -> int:
        """How many so far."""
        if self._pod.process.poll() is None and not self._pod.is_leaving.is_set():
            self._take(self._read())
        else:
            self._thread.join(30)
        return self._before_restart + max(0, self._last - self._warm_up)

    def _follow(self) -> None:
        while not self._pod.is_leaving.wait(0.5):
            self._take(self._read())
        while self._pod.process.poll() is None:
            self._take(self._read())
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._pod.process.wait(0.1)

    def _read(self) -> int | None:
        try:
            text = self._pod.host.get(self._pod.url("metrics", "/metrics"), 2)
        except (OSError, ValueError):
            return None
        found = [int(count) for count in _JUDGED.findall(text)]
        return sum(found) if found else None

    def _take(self, count: int | None) -> None:
        if count is None:
            return
        if count < self._last:
            self._before_restart += self._last - self._warm_up
        self._last = count


@dataclass
class Release:
    """The pods of one release; `url` is where the gateway finds Tritons."""

    cluster: Cluster
    manifests: list[Manifest]
    tritons: list[Pod] = field(default_factory=list)
    tallies: dict[str, Tally] = field(default_factory=dict)
    started: int = 0

    def service(self, ending: str) -> str:
        """The name of one of its Services within the cluster."""
        name = named(self.manifests, "Service", ending)["metadata"]["name"]
        return f"{name}.{self.cluster.namespace}.svc"

    def address(self, ending: str) -> str:
        """Where callers find a Service, as the client takes it."""
        return f"{self.service(ending)}:8001"

    def endpoints(self, ending: str) -> list[str]:
        """Addresses of a Service's ready pods."""
        return self.cluster.names.addresses_of(self.service(ending))

    def start_triton(self, repository: Path) -> Pod:
        """Start one more Triton; it counts once it is ready."""
        self.started += 1
        return start_pod(
            self.cluster,
            f"server-{self.started}",
            named(self.manifests, "Deployment", "-server"),
            service=self.service("-headless"),
            command=[COMMAND],
            binds={"/models": repository},
        )

    def take_in(self, pod: Pod) -> None:
        """Wait until it is ready, and count what it judges."""
        pod.wait_until_ready()
        self.tallies[pod.name] = Tally(pod)
        pod.join_service()
        self.tritons.append(pod)

    def start_tritons(self, number: int, repository: Path) -> None:
        """Start several, and wait for them."""
        for pod in [self.start_triton(repository) for _ in range(number)]:
            self.take_in(pod)

    def start_envoy(self) -> Pod:
        """Start Envoy with the chart's configuration, and wait until it is ready."""
        (config,) = [one for one in of_kind(self.manifests, "ConfigMap") if "envoy.yaml" in one["data"]]
        file = self.cluster.folder / "envoy.yaml"
        file.write_text(config["data"]["envoy.yaml"])
        pod = start_pod(
            self.cluster,
            "envoy",
            named(self.manifests, "Deployment", "-envoy"),
            service=self.service("-envoy"),
            command=[str(ENVOY)],
            binds={"/config/envoy.yaml": file},
        )
        pod.wait_until_ready()
        pod.join_service()
        return pod

    def start_gateway(self) -> Pod:
        """Start a gateway, and wait until it is ready."""
        pod = start_pod(
            self.cluster,
            "gateway",
            named(self.manifests, "Deployment", "-gateway"),
            service=self.service("-gateway"),
            command=[COMMAND],
            binds={},
        )
        pod.wait_until_ready()
        pod.join_service()
        return pod

    def roll(self, repository: Path) -> None:
        """Replace all Tritons as a Deployment does (maxSurge 1, maxUnavailable 0).

        A new one comes first; once it is ready, an old one is ended, while the next new one starts.
        """
        olds, self.tritons = self.tritons, []
        with ThreadPoolExecutor(len(olds)) as endings:
            ended = []
            for old in olds:
                self.take_in(self.start_triton(repository))
                ended.append(endings.submit(old.end))
            for each in ended:
                each.result()

    def judged(self) -> dict[str, int]:
        """Clips that each Triton judged, those that are gone included."""
        return {name: tally.judged for name, tally in self.tallies.items()}


@contextmanager
def release(folder: Path, *, delay_ms: float = 2, loss_percent: float = 0.5) -> Iterator[Release]:
    """A release without pods, whose packets take a time each way and get lost at times."""
    values = {"server.preStopSeconds": PRE_STOP_S, "gateway.apiKeys.disabled": True}
    manifests = render_with(values)
    with (
        network(delay_ms=delay_ms, loss_percent=loss_percent) as linked,
        cluster_names(linked) as names,
        cluster_of(linked, names, folder) as cluster,
    ):
        yield Release(cluster, manifests)
