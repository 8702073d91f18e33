"""Values of the chart: what is refused, and what others than the tests' own sets lead to."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from deploy_tools import (
    CHART,
    Manifest,
    Refused,
    each_values,
    helm,
    named,
    needs_helm,
    of_kind,
    pod_spec,
    render,
    render_with,
    rendered,
)
from paths import ROOT

pytestmark = [pytest.mark.fast, needs_helm]

PARENTS = [{"name": "public"}]
REFUSED: dict[str, tuple[Manifest, str]] = {
    "typo-at-the-top": ({"servr": {"replicas": 3}}, "servr"),
    "typo-inside": ({"server": {"replica": 3}}, "replica"),
    "typo-deep": ({"server": {"autoscaling": {"keda": {"serverAdress": "http://p"}}}}, "serverAdress"),
    "typo-in-an-image": ({"gateway": {"image": {"tags": "1"}}}, "tags"),
    "typo-in-resources": ({"server": {"resources": {"limit": {}}}}, "limit"),
    "typo-in-a-peer": ({"networkPolicy": {"tritonFrom": [{"podSelectr": {}}]}}, "podSelectr"),
    "unknown-device": ({"device": "tpu"}, "device"),
    "replicas-as-text": ({"server": {"replicas": "3"}}, "replicas"),
    "latest": ({"server": {"image": {"tag": "latest"}}}, "tag"),
    "latest-gpu": ({"gateway": {"image": {"tag": "latest-gpu"}}}, "tag"),
    "latest-in-the-repository": ({"server": {"image": {"repository": "detector:latest"}}}, "repository"),
    "envoy-without-a-tag": ({"envoy": {"image": {"tag": ""}}}, "envoy"),
    "malformed-digest": ({"server": {"image": {"digest": "sha256:12"}}}, "digest"),
    "no-memory-limit": ({"server": {"resources": {"limits": {"memory": None}}}}, "memory"),
    "traces-over-tls": ({"tracing": {"endpoint": "https://collector/v1/traces"}}, "endpoint"),
    "a-drain-too-short": ({"server": {"drainSeconds": 30}}, "drainSeconds"),
    "model-control": ({"server": {"extraArgs": ["--model-control=explicit"]}}, "extraArgs"),
    "http-inference": ({"server": {"extraArgs": ["--http-inference"]}}, "extraArgs"),
    "host-path": (
        {"server": {"extraVolumes": [{"name": "host", "hostPath": {"path": "/"}}]}},
        "extraVolumes",
    ),
    "a-stuck-rollout": ({"server": {"strategy": {"maxSurge": 0, "maxUnavailable": 0}}}, "strategy"),
    "triton-route-on-a-cpu": (
        {"routes": {"triton": {"enabled": True, "parentRefs": PARENTS}}},
        "routes/triton/enabled",
    ),
    "a-triton-route-that-the-policy-closes": (
        {"device": "gpu", "routes": {"triton": {"enabled": True, "parentRefs": PARENTS}}},
        "tritonFrom",
    ),
    "a-target-at-the-bound": (
        {"server": {"maxQueue": 16, "autoscaling": {"type": "hpa", "targetPending": 16}}},
        "targetPending",
    ),
    "a-target-above-the-bound": (
        {"server": {"maxQueue": 16, "autoscaling": {"type": "hpa", "targetPending": 200}}},
        "targetPending",
    ),
    "a-queue-of-one": ({"server": {"maxQueue": 1, "autoscaling": {"type": "hpa"}}}, "targetPending"),
    "more-min-than-max": (
        {"server": {"autoscaling": {"type": "hpa", "minReplicas": 9, "maxReplicas": 2}}},
        "minReplicas",
    ),
    "scale-to-zero": ({"server": {"autoscaling": {"type": "keda", "minReplicas": 0}}}, "minReplicas"),
    "keda-without-prometheus": ({"server": {"autoscaling": {"type": "keda"}}}, "serverAddress"),
    "keda-without-labels": (
        {"server": {"autoscaling": {"type": "keda", "keda": {"serverAddress": "http://p:9090"}}}},
        "podMonitor",
    ),
    "alerts-without-metrics": ({"monitoring": {"prometheusRule": {"enabled": True}}}, "podMonitor"),
    "rarer-metrics-than-rules-need": ({"monitoring": {"podMonitor": {"interval": "5m"}}}, "interval"),
    "an-upload-larger-than-its-volume": ({"gateway": {"limits": {"maxUpload": "20G"}}}, "maxUpload"),
    "metrics-without-a-key": ({"monitoring": {"podMonitor": {"enabled": True}}}, "gatewayKeySecret"),
    "one-host-for-two-routes": (
        {
            "routes": {
                "grpc": {"enabled": True, "parentRefs": PARENTS, "hostnames": ["a.example.org"]},
                "http": {"enabled": True, "parentRefs": PARENTS, "hostnames": ["a.example.org"]},
            }
        },
        "a.example.org",
    ),
    "any-name-of-a-domain": (
        {"routes": {"http": {"enabled": True, "parentRefs": PARENTS, "hostnames": ["*.example.org"]}}},
        "hostnames",
    ),
    "a-route-for-any-name": ({"routes": {"http": {"enabled": True, "parentRefs": PARENTS}}}, "hostnames"),
    "no-time-at-all": ({"gateway": {"limits": {"retention": "0m"}}}, "retention"),
    "a-route-without-a-gateway": ({"routes": {"grpc": {"enabled": True}}}, "parentRefs"),
    "tls-without-a-secret": ({"server": {"tls": {"enabled": True}}}, "existingSecret"),
    "tls-the-gateway-does-not-trust": (
        {"server": {"tls": {"enabled": True, "existingSecret": "tls"}}},
        "tritonTls",
    ),
    "client-certificates-nobody-shows": (
        {
            "server": {"tls": {"enabled": True, "existingSecret": "tls", "clientCaSecret": "ca"}},
            "gateway": {"tritonTls": {"existingSecret": "ca"}},
        },
        "mutual",
    ),
    "a-store-without-a-name": ({"modelRepository": {"type": "objectStore"}}, "source"),
    "engines-for-a-cpu": ({"engineCache": {"type": "emptyDir"}}, "engineCache.type"),
    "engines-on-no-claim": (
        {"device": "gpu", "engineCache": {"type": "pvc"}},
        "engineCache.pvc.existingClaim",
    ),
    "engines-in-no-time": ({"device": "gpu", "engineCache": {"buildSeconds": 0}}, "buildSeconds"),
    "unsigned-webhooks": ({"gateway": {"webhooks": {"url": "https://a.example.org"}}}, "existingSecret"),
    "an-underscore-in-a-secret": ({"gateway": {"apiKeys": {"existingSecret": "a_b"}}}, "existingSecret"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_values_that_cannot_work_are_refused(case: str) -> None:
    overrides, word = REFUSED[case]
    with pytest.raises(Refused, match=re.escape(word)):
        render_with(overrides)


def test_the_templates_refuse_the_worst_too() -> None:
    """Helm can be told to skip the schema."""
    with pytest.raises(Refused, match="name a version, or a digest"):
        helm("template", "demo", CHART, "--skip-schema-validation", "--set", "server.image.tag=latest")
    with pytest.raises(Refused, match=r"device cpu serves Triton 2\.51"):
        helm(
            "template", "demo", CHART, "--skip-schema-validation",
            "--set-json", 'routes.triton={"enabled": true, "parentRefs": [{"name": "public"}]}',
        )  # fmt: skip


@each_values
def test_lint_finds_nothing(values: Path) -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", CHART, "--values", values)


@each_values
def test_notes_name_the_release(values: Path) -> None:
    text = helm("install", "demo", CHART, "--namespace", "video", "--dry-run=client", "--values", values)
    notes = text.partition("NOTES:")[2]
    name = "detector" if values.stem == "bare-cluster" else "demo-"
    assert f" as {name}" in notes and "in video" in notes
    assert "<no value>" not in text and "<nil>" not in text


def test_the_guide_s_values_are_taken(tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "guides" / "kubernetes.md").read_text()
    (values,) = [block for block in re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL) if "image:" in block]
    (tmp_path / "values.yaml").write_text(values)
    manifests = render("--values", tmp_path / "values.yaml", release="detector")
    assert {"PodMonitor", "PrometheusRule"} <= {manifest["kind"] for manifest in manifests}
    text = json.dumps(manifests)
    for name in re.findall(r"\b(detector-deepfake-triton-api-keys)\b", guide):
        assert f'"secretName": "{name}"' in text
    assert "registry.example.org/video/deepfake-triton-gateway:" in text


def test_every_object_of_the_schema_refuses_unknown_names() -> None:
    """Maps of labels and lists of resources have names of their own, each with a pattern."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    passed_on = {"volume", "valueFrom", "nodeAffinity", "podAffinity", "podAntiAffinity", "global"}
    open_objects = []

    def look(node: object, path: tuple[str, ...]) -> None:
        if isinstance(node, dict):
            is_object = node.get("type") == "object"
            if is_object and node.get("additionalProperties", True) is True and path[-1] not in passed_on:
                open_objects.append("/".join(path))
            for name, inner in node.items():
                look(inner, (*path, name))
        elif isinstance(node, list):
            for inner in node:
                look(inner, path)

    look(schema, ("",))
    assert open_objects == []


def test_the_schema_knows_every_value_that_the_chart_has() -> None:
    """The chart's own values have to be as the schema says: Helm checks only what it merges."""
    values, schema = yaml.safe_load((CHART / "values.yaml").read_text()), (CHART / "values.schema.json")
    properties = json.loads(schema.read_text())["properties"]
    assert set(values) == set(properties) - {"global", "enabled"}

    def compare(node: Manifest, known: Manifest, path: str) -> None:
        for name, value in node.items():
            inner = known["properties"][name]
            if isinstance(value, dict) and "properties" in inner:
                assert set(value) == set(inner["properties"]), f"{path}.{name}"
                compare(value, inner, f"{path}.{name}")

    compare(values, {"properties": properties}, "")


def test_the_chart_has_the_project_s_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert f'\nversion = "{chart["appVersion"]}"\n' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize(
    ("max_queue", "target", "expected"),
    [(16, None, "4"), (128, None, "32"), (2, None, "1"), (7, None, "1"), (16, 15, "15"), (64, 1, "1")],
)
def test_the_target_is_a_quarter_of_the_bound_unless_named(
    max_queue: int, target: int | None, expected: str
) -> None:
    manifests = render_with(
        {"server.maxQueue": max_queue, "server.autoscaling": {"type": "hpa", "targetPending": target}}
    )
    (hpa,) = of_kind(manifests, "HorizontalPodAutoscaler")
    (metric,) = hpa["spec"]["metrics"]
    assert metric["pods"]["target"] == {"type": "AverageValue", "averageValue": expected}
    assert metric["pods"]["metric"]["selector"]["matchLabels"] == {"model": "face_detector"}


def test_keda_asks_for_this_release_alone() -> None:
    (scaler,) = of_kind(rendered(ROOT / "tests/deploy/values/mig-keda.yaml"), "ScaledObject")
    (trigger,) = scaler["spec"]["triggers"]
    labels = 'deployment="video/mig-keda-deepfake-triton",model="face_detector"'
    assert trigger["metadata"]["query"] == f"sum(nv_inference_pending_request_count{{{labels}}})"
    assert trigger["metadata"]["threshold"] == "10" and trigger["metricType"] == "AverageValue"
    assert scaler["spec"]["minReplicaCount"] >= 1 and scaler["spec"]["fallback"]["replicas"] >= 1


def test_a_mig_slice_is_requested_and_limited() -> None:
    server = named(rendered(ROOT / "tests/deploy/values/mig-keda.yaml"), "Deployment", "-server")
    (container,) = pod_spec(server)["containers"]
    for kind in ("requests", "limits"):
        resources = container["resources"][kind]
        assert resources["nvidia.com/mig-1g.10gb"] == 1 and "nvidia.com/gpu" not in resources


def test_a_cpu_asks_for_no_gpu() -> None:
    text = json.dumps(rendered(ROOT / "tests/deploy/values/defaults.yaml"))
    assert "nvidia.com" not in text and "deepfake-triton-cpu:" in text


def test_a_new_revision_rolls_the_servers_alone() -> None:
    before, after = (render_with({"modelRepository.revision": revision}) for revision in ("1", "2"))
    changed = [new["metadata"]["name"] for old, new in zip(before, after, strict=True) if old != new]
    assert changed == ["demo-deepfake-triton-server"]
