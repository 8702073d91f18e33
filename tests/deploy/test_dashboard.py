"""The dashboard's queries and the rules: on a real Prometheus that scrapes Triton, gateway and Envoy."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from deploy_tools import CHART, HELM, TOOLS, Manifest, envoy_config, named, needs_helm, of_kind, render_with
from network import free_port
from prometheus_server import DEPLOYMENT, Prometheus, needs_prometheus, running_process, running_prometheus
from running_gateway import running_gateway

from deepfake_triton.client import DeepfakeClient, FrameBatch
from deepfake_triton.gateway.metrics import GatewayMetrics
from deepfake_triton.gateway.settings import GatewaySettings
from deepfake_triton.serving.server import TritonServer

DASHBOARD = CHART / "files" / "dashboard.json"
RULES = CHART / "files" / "rules.yaml"
ENVOY = TOOLS / "bin" / "envoy"
UNSEEN = "(not seen live)"
GPU_METRICS = {  # docs/user_guide/metrics.md of Triton, "GPU Metrics"
    *("nv_gpu_power_usage", "nv_gpu_power_limit", "nv_energy_consumption", "nv_gpu_utilization"),
    *("nv_gpu_memory_total_bytes", "nv_gpu_memory_used_bytes"),
}
METRIC = re.compile(r"\b((?:nv|gateway|deepfake|envoy)_\w+)\b(?=[{\[])")


def panels() -> list[Manifest]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def expressions(*, gpu: bool) -> list[str]:
    """Queries with the variables filled in, of the GPU's panels or of the others."""
    chosen = [panel for panel in panels() if panel["title"].endswith(UNSEEN) is gpu]
    texts = [target["expr"] for panel in chosen for target in panel["targets"]]
    return [text.replace("$deployment", DEPLOYMENT).replace("$__rate_interval", "30s") for text in texts]


@pytest.mark.fast
def test_every_panel_has_a_unit_a_place_and_the_dashboard_s_variables() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    assert {variable["name"] for variable in dashboard["templating"]["list"]} == {"datasource", "deployment"}
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + column, place["y"] + line)
            for column in range(place["w"])
            for line in range(place["h"])
        }
        assert not cells & taken and place["x"] + place["w"] <= 24
        taken |= cells
    for panel in panels():
        assert panel["fieldConfig"]["defaults"]["unit"] and panel["targets"]
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}"
            assert 'deployment="$deployment"' in target["expr"]


@pytest.mark.fast
def test_gpu_panels_and_rules_name_documented_metrics_and_say_that_nobody_saw_them() -> None:
    assert len(expressions(gpu=True)) >= 3
    for expression in expressions(gpu=True):
        assert set(METRIC.findall(expression)) <= GPU_METRICS
    for expression in expressions(gpu=False):
        assert not set(METRIC.findall(expression)) & GPU_METRICS
    assert set(re.findall(r"\bnv_(?:gpu|energy)_\w+", RULES.read_text())) <= GPU_METRICS


@pytest.mark.fast
@needs_helm
def test_each_release_has_a_dashboard_of_its_own() -> None:
    uids = set()
    for release in ("a", "b"):
        manifests = render_with({"monitoring.dashboard.enabled": True}, release=release)
        config = named(manifests, "ConfigMap", "-dashboard")
        ((name, text),) = config["data"].items()
        assert name.startswith(release) and config["metadata"]["labels"]["grafana_dashboard"] == "1"
        uids.add(json.loads(text)["uid"])
    assert len(uids) == 2 and all(len(uid) <= 40 for uid in uids)


@pytest.fixture(scope="module")
def watched(
    default_server: TritonServer, clip_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """A Prometheus that saw gateway, Envoy and Triton judge a clip, and refuse a text."""
    folder = tmp_path_factory.mktemp("watched")
    grpc, stats, admin = (free_port() for _ in range(3))
    (folder / "envoy.yaml").write_text(envoy_config(default_server.url, (grpc, stats, admin)))
    settings = GatewaySettings(urls=(f"127.0.0.1:{grpc}",), port=0, grpc_port=0)
    with ExitStack() as stack:
        stack.enter_context(
            running_process(ENVOY, "-c", folder / "envoy.yaml", "--log-level", "off", "--disable-hot-restart")
        )
        gateway = stack.enter_context(running_gateway(settings))
        targets = {
            "server": f"127.0.0.1:{default_server.metrics_port}",
            "gateway": gateway.url.removeprefix("http://"),
            "envoy": f"127.0.0.1:{stats}",
        }
        prometheus = stack.enter_context(running_prometheus(folder, targets, RULES.read_text()))
        prometheus.wait_for("count(up == 1) == 3")
        prometheus.wait_for('envoy_cluster_membership_healthy{envoy_cluster_name="triton"} == 1')
        for name, content in (("clip.mp4", clip_path.read_bytes()), ("text.mp4", b"text")):
            files = {"file": (name, content)}
            httpx.post(f"{gateway.url}/v1/detect", files=files, trust_env=False, timeout=60)
        prometheus.wait_for('rate(gateway_jobs_total{outcome="done"}[30s]) > 0')
        yield prometheus


needs_tools = pytest.mark.skipif(
    not HELM.exists() or not ENVOY.exists(), reason=".venv-deploy is missing: make test builds it"
)


@pytest.mark.triton
@needs_prometheus
@needs_tools
def test_every_query_but_the_gpu_s_has_data(watched: Prometheus) -> None:
    assert len(expressions(gpu=False)) > 25
    for expression in expressions(gpu=False):  # each target is scraped at a time of its own
        watched.wait_for(expression)


@pytest.mark.triton
@needs_prometheus
@needs_tools
def test_every_metric_that_is_named_exists(watched: Prometheus) -> None:
    """Counters by error or server come with their first count: those are looked up at the gateway."""
    live = set(watched.get("label/__name__/values"))
    counted = {f"{metric.name}_total" for metric in GatewayMetrics().registry.collect()}
    named_ones = {name for text in expressions(gpu=False) for name in METRIC.findall(text)}
    named_ones |= set(METRIC.findall(RULES.read_text())) - GPU_METRICS
    late = {name for name in named_ones - live if not name.startswith(("nv_", "envoy_"))}
    assert named_ones - live - late == set()
    assert late <= counted and late <= {
        "deepfake_refused_total", "gateway_refused_total", "gateway_webhooks_total",
    }  # fmt: skip


@pytest.mark.triton
@needs_prometheus
@needs_tools
def test_rules_are_evaluated_without_error_and_nothing_is_wrong(watched: Prometheus) -> None:
    watched.wait_for("deployment:deepfake_queue_seconds:mean5m")
    groups = watched.get("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) > 20 and {rule["health"] for rule in rules} == {"ok"}
    assert watched.query('ALERTS{alertstate="firing"}') == []
    for name in ("deepfake_clips:rate5m", "deepfake_pending_clips:sum", "gateway_job_seconds:p95_10m"):
        watched.wait_for(f"deployment:{name}")


@pytest.mark.slow
@pytest.mark.alone
@needs_prometheus
@needs_tools
def test_the_autoscaler_s_query_rises_above_its_target_under_load_and_falls_to_zero(
    watched: Prometheus, default_server: TritonServer, clip_frames: FrameBatch
) -> None:
    scaling = {"type": "keda", "keda": {"serverAddress": "http://prometheus:9090"}}
    manifests = render_with(
        {
            "server.autoscaling": scaling,
            "server.maxQueue": 16,
            "monitoring.podMonitor": {"enabled": True, "gatewayKeySecret": "key"},
        },
        release="deepfake-triton",
        namespace="default",
    )
    (scaler,) = of_kind(manifests, "ScaledObject")
    (trigger,) = scaler["spec"]["triggers"]
    query, target = trigger["metadata"]["query"], trigger["metadata"]["threshold"]
    assert [one["value"][1] for one in watched.query(query)] == ["0"]
    with (
        DeepfakeClient(default_server.url, timeout_s=120, max_in_flight=14) as client,
        ThreadPoolExecutor(14) as callers,
    ):
        answers = [callers.submit(client.detect, clip_frames) for _ in range(42)]
        watched.wait_for(f"{query} > {target}", timeout_s=60)
        assert all(answer.result().verdict for answer in answers)
    watched.wait_for(f"{query} == 0")
