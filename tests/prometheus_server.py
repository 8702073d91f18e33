"""A real Prometheus for tests, which scrapes every second and evaluates the rules of the chart."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from network import free_port

DEPLOYMENT = "default/deepfake-triton"
_PROMETHEUS = shutil.which("prometheus")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
needs_prometheus = pytest.mark.skipif(_PROMETHEUS is None, reason="prometheus is missing: make system-deps")


@contextmanager
def running_process(*command: str | Path) -> Iterator[None]:
    """Run a program, which is ended with the context."""
    with subprocess.Popen([str(word) for word in command], stderr=subprocess.DEVNULL) as started:
        try:
            yield
        finally:
            started.terminate()
            started.wait(20)


@dataclass(frozen=True)
class Prometheus:
    """A Prometheus that runs."""

    url: str

    def wait_until_ready(self, timeout_s: float = 60) -> None:
        """Wait until it answers queries, which it refuses while it starts."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            with suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/-/ready", trust_env=False).status_code == httpx.codes.OK:
                    return
            time.sleep(0.1)
        raise AssertionError(f"not ready within {timeout_s:g} s")

    def get(self, path: str, **params: str) -> Any:
        """The data of an answer of its API."""
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=params, trust_env=False, timeout=10)
        found = answer.json()
        assert found["status"] == "success", found
        return found["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The result of a query now."""
        found: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return found

    def firing(self) -> set[str]:
        """Names of the alerts that fire."""
        alerts = self.get("alerts")["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def wait_for(self, expression: str, timeout_s: float = 60) -> None:
        """Wait until a query has a result."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            with suppress(httpx.HTTPError):
                if self.query(expression):
                    return
            time.sleep(0.2)
        raise AssertionError(f"{expression}: no result within {timeout_s:g} s")


def faster(rules: str, factor: int) -> str:
    """Rules whose windows and waits are shorter by a factor, down to a second."""

    def shorter(found: re.Match[str]) -> str:
        seconds = int(found[2]) * _SECONDS[found[3]] // factor
        return f"{found[1]}{max(1, seconds)}s"

    return re.sub(r"(\[|for: )(\d+)([smhd])\b", shorter, rules)


@contextmanager
def running_prometheus(folder: Path, targets: Mapping[str, str], rules: str) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes these addresses by component, and evaluates these rules, each second."""
    loaded, port = yaml.safe_load(rules), free_port()
    for group in loaded["groups"]:
        group["interval"] = "1s"
    jobs = [
        {
            "job_name": component,
            "metrics_path": "/stats/prometheus" if component == "envoy" else "/metrics",
            "static_configs": [
                {"targets": [target], "labels": {"component": component, "deployment": DEPLOYMENT}}
            ],
        }
        for component, target in targets.items()
    ]
    every = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config = {"global": every, "rule_files": ["rules.yaml"], "scrape_configs": jobs}
    (folder / "rules.yaml").write_text(yaml.safe_dump(loaded))
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    with running_process(
        str(_PROMETHEUS),
        f"--config.file={folder}/prometheus.yaml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ):
        prometheus = Prometheus(f"http://127.0.0.1:{port}")
        prometheus.wait_until_ready()
        yield prometheus
