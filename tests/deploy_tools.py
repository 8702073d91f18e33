"""Helm and other tools of .venv-deploy, and what the chart renders."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from paths import ROOT

CHART = ROOT / "deploy" / "helm" / "deepfake-triton"
VALUES = sorted((ROOT / "tests" / "deploy" / "values").glob("*.yaml"))
"""The sets of values that are rendered, linted and validated."""
TOOLS = ROOT / ".venv-deploy"
HELM = TOOLS / "bin" / "helm"

Manifest = dict[str, Any]

needs_helm = pytest.mark.skipif(not HELM.exists(), reason=".venv-deploy is missing: make test builds it")
CUSTOM = ("gateway.networking.k8s.io/", "keda.sh/", "monitoring.coreos.com/")
"""API groups of custom resources."""
needs_crds = pytest.mark.skipif(
    shutil.which("node") is None or not (TOOLS / "node_modules").is_dir(),
    reason="node, or node_modules in .venv-deploy, is missing: install nodejs and npm, then make test",
)
each_values = pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)


class UniqueKeys(yaml.SafeLoader):  # type: ignore[misc]
    """Refuses a key that stands twice in an object, as the API server does."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return an object. Raises ValueError for a second key of a name."""
        names = [key.value for key, _ in node.value]
        if doubled := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"twice in one object: {doubled}{node.start_mark}")
        made: dict[Any, Any] = super().construct_mapping(node, deep)
        return made


class Refused(Exception):
    """Helm did not render."""


def run_tool(*command: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program that only reads and prints."""
    words = [str(word) for word in command]
    return subprocess.run(words, input=stdin, capture_output=True, text=True, check=False, timeout=60)


def helm(*arguments: str | Path) -> str:
    """Run Helm; return what it printed. Raises Refused with its message."""
    done = run_tool(HELM, *arguments)
    if done.returncode:
        raise Refused(done.stderr + done.stdout)
    return done.stdout


def render(*arguments: str | Path, release: str = "demo", namespace: str = "video") -> list[Manifest]:
    """Return the objects of a release."""
    text = helm("template", release, CHART, "--namespace", namespace, *arguments)
    return [document for document in yaml.load_all(text, UniqueKeys) if document]


@functools.cache
def rendered(values: Path) -> tuple[Manifest, ...]:
    """Return the objects of a set of values; the release is called as its file."""
    return tuple(render("--values", values, release=values.stem))


def render_with(overrides: Manifest, **release: str) -> list[Manifest]:
    """Return the objects of a release with these values."""
    return render("--set-json", ",".join(f"{k}={json.dumps(v)}" for k, v in overrides.items()), **release)


def of_kind(manifests: tuple[Manifest, ...] | list[Manifest], kind: str) -> list[Manifest]:
    """Return the objects of one kind."""
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def named(manifests: tuple[Manifest, ...] | list[Manifest], kind: str, ending: str) -> Manifest:
    """Return the one object of a kind whose name ends so."""
    (found,) = [one for one in of_kind(manifests, kind) if one["metadata"]["name"].endswith(ending)]
    return found


def pod_spec(deployment: Manifest) -> Manifest:
    """Return a Deployment's pod."""
    spec: Manifest = deployment["spec"]["template"]["spec"]
    return spec


def containers(deployment: Manifest) -> list[Manifest]:
    """Return a Deployment's containers, those that run before the others included."""
    spec = pod_spec(deployment)
    return [*spec.get("initContainers", ()), *spec["containers"]]


def envoy_config(triton: str, ports: tuple[int, int, int]) -> str:
    """Return the chart's configuration of Envoy with addresses of this host.

    The Triton's is host:port; the ports are those of gRPC, statistics and admin.
    """
    found: str = of_kind(render(release="e", namespace="n"), "ConfigMap")[0]["data"]["envoy.yaml"]
    host, _, port = triton.rpartition(":")
    for old, new in (
        ("e-deepfake-triton-server-headless.n.svc, port_value: 8001", f"{host}, port_value: {port}"),
        ('"0.0.0.0", port_value: 8001', f"127.0.0.1, port_value: {ports[0]}"),
        ('"0.0.0.0", port_value: 9902', f"127.0.0.1, port_value: {ports[1]}"),
        ("port_value: 9901", f"port_value: {ports[2]}"),
    ):
        assert old in found
        found = found.replace(old, new)
    return found


def custom_faults(objects: list[Manifest]) -> list[str]:
    """Return what the custom resources' own definitions do not allow, a line for each."""
    script = ROOT / "tests" / "deploy" / "crds" / "validate.mjs"
    done = run_tool("node", script, TOOLS, stdin=json.dumps(objects))
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
