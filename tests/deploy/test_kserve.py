"""KServe's manifests, against the models that KServe makes of its own definitions."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from deploy_tools import TOOLS, Manifest, run_tool
from paths import ROOT

from deepfake_triton.serving.server import CLOSE_TIMEOUT_S

FOLDER = ROOT / "deploy" / "kserve"
MODELS = next(iter(TOOLS.glob("lib/python3*/site-packages/kserve/models")), None)
pytestmark = [
    pytest.mark.fast,
    pytest.mark.skipif(MODELS is None, reason=".venv-deploy is missing: make test builds it"),
]
KINDS = {
    "serving-runtime.yaml": "V1alpha1ServingRuntime",
    "inference-service.yaml": "V1beta1InferenceService",
}


def fields_of(kind: str) -> dict[str, str] | None:
    """Return a model's fields with their types; None for one of Kubernetes, such as a V1Container."""
    assert MODELS is not None
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind).lower()
    path = MODELS / f"{name}.py"
    if not path.exists():
        return None
    found: dict[str, dict[str, str]] = {}
    for node in ast.walk(ast.parse(path.read_text())):
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(target, ast.Name) and target.id in {"openapi_types", "attribute_map"}:
            assert isinstance(node, ast.Assign)
            found[target.id] = ast.literal_eval(node.value)
    types, names = found["openapi_types"], found["attribute_map"]
    return {names[attribute]: types[attribute] for attribute in types}


def faults(value: Any, kind: str, path: str = "") -> list[str]:
    """Return what of a value KServe's model does not have, or has as another type."""
    if kind.startswith("list["):
        if not isinstance(value, list):
            return [f"{path}: got {value!r}, expected a list"]
        return [fault for item in value for fault in faults(item, kind[5:-1], f"{path}[]")]
    plain = {"str": str, "int": int, "bool": bool}.get(kind)
    if plain:
        return [] if type(value) is plain else [f"{path}: got {value!r}, expected {kind}"]
    fields = fields_of(kind)
    if fields is None:
        return []
    if not isinstance(value, dict):
        return [f"{path}: got {value!r}, expected an object"]
    found = [f"{path}.{name}: unknown" for name in value if name not in fields]
    for name in value.keys() & fields.keys():
        found += faults(value[name], fields[name], f"{path}.{name}")
    return found


def manifest(name: str) -> Manifest:
    found: Manifest = yaml.safe_load((FOLDER / name).read_text())
    return found


@pytest.mark.parametrize("name", KINDS)
def test_kserve_knows_every_field(name: str) -> None:
    assert faults(manifest(name), KINDS[name]) == []


def test_the_check_sees_faults() -> None:
    service = manifest("inference-service.yaml")
    service["spec"]["predictor"]["minReplica"] = 1
    service["spec"]["predictor"]["maxReplicas"] = "8"
    service["spec"]["predictor"]["model"]["modelFormat"]["nam"] = "x"
    assert sorted(faults(service, KINDS["inference-service.yaml"])) == [
        ".spec.predictor.maxReplicas: got '8', expected int",
        ".spec.predictor.minReplica: unknown",
        ".spec.predictor.model.modelFormat.nam: unknown",
    ]


def pod() -> Manifest:
    """The pod that both make up, but for the volume of models."""
    runtime = manifest("serving-runtime.yaml")["spec"]
    predictor = manifest("inference-service.yaml")["spec"]["predictor"]
    taken = ("securityContext", "terminationGracePeriodSeconds")
    spec = {key: predictor[key] for key in (*taken, "automountServiceAccountToken", "enableServiceLinks")}
    spec |= {"containers": runtime["containers"], "volumes": runtime["volumes"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "kserve"}, "spec": spec}


@pytest.mark.parametrize("version", ["1.31.0", "1.37.0"])
def test_kubernetes_knows_every_field_of_the_pod(version: str, tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text(yaml.safe_dump(pod()))
    command = [
        str(TOOLS / "bin" / "kubernetes-validate"),
        "-k",
        version,
        "--strict",
        str(tmp_path / "pod.yaml"),
    ]
    done = run_tool(*command)
    assert done.returncode == 0 and "passed for resource pod/kserve" in done.stdout, done.stdout


def test_both_fit_each_other_and_the_server() -> None:
    runtime, service = manifest("serving-runtime.yaml"), manifest("inference-service.yaml")
    model = service["spec"]["predictor"]["model"]
    assert model["runtime"] == runtime["metadata"]["name"]
    offered = [(one["name"], one["version"]) for one in runtime["spec"]["supportedModelFormats"]]
    assert (model["modelFormat"]["name"], model["modelFormat"]["version"]) in offered
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]
    (container,) = runtime["spec"]["containers"]
    assert container["name"] == "kserve-container" and container["args"][:2] == ["serve", "/mnt/models"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    before_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    grace_s = service["spec"]["predictor"]["terminationGracePeriodSeconds"]
    assert grace_s >= before_s + CLOSE_TIMEOUT_S


def test_the_query_is_of_metrics_that_are_collected() -> None:
    service, runtime, monitor = map(manifest, (*reversed(KINDS), "pod-monitor.yaml"))
    assert {one["metadata"]["namespace"] for one in (service, runtime, monitor)} == {"video"}
    (metric,) = service["spec"]["predictor"]["autoScaling"]["metrics"]
    assert 'namespace="video"' in metric["external"]["metric"]["query"]
    name = service["metadata"]["name"]
    assert monitor["spec"]["selector"]["matchLabels"] == {"serving.kserve.io/inferenceservice": name}
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert f"--metrics-port={endpoint['portNumber']}" in runtime["spec"]["containers"][0]["args"]
    target = metric["external"]["target"]
    assert target["value"] == target["averageValue"], "one for KServe's webhook, one for KEDA"
