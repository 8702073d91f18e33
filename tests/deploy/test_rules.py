"""Recording rules and alerts, computed by promtool on series made for each, and documented in the runbook."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from deploy_tools import CHART, Manifest, needs_helm, of_kind, render_with, run_tool
from paths import ROOT

pytestmark = pytest.mark.fast
RULES = CHART / "files" / "rules.yaml"
DEPLOYMENT = "default/deepfake-triton"
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is missing: make system-deps"
)


@dataclass(frozen=True)
class Case:
    """Series of one minute a sample, and the alerts that they raise `at` a time.

    Labels of an alert are those beside its severity and its deployment.
    """

    series: dict[str, str]
    fires: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    at: str = "40m"


SERVER_UP = {'up{component="server",instance="a"}': "1x60"}
GATEWAY_UP = {'up{component="gateway",instance="g"}': "1x60"}
UP = {**SERVER_UP, **GATEWAY_UP}


def clips(model: str, name: str, values: str) -> dict[str, str]:
    return {f'nv_inference_{name}{{component="server",instance="a",model="{model}",version="1"}}': values}


def failures(values: str) -> dict[str, str]:
    labels = 'component="server",instance="a",model="deepfake_detector",reason="OTHER",version="1"'
    return {f"nv_inference_request_failure{{{labels}}}": values}


def gateway(name: str, labels: str, values: str) -> dict[str, str]:
    return {f'{name}{{component="gateway",instance="g",{labels}}}': values}


BUSY = clips("face_detector", "request_success", "0+60x60")
QUIET = [
    {**UP, **BUSY, **clips("face_detector", "pending_request_count", "12x60")},
    {**UP, **clips("deepfake_detector", "request_success", "0+96x60"), **failures("0+4x60")},
    {**UP, **BUSY, **clips("face_detector", "queue_duration_us", "0+240000000x60")},
    {**UP, **gateway("deepfake_refused_total", 'server="t:8001"', "7x60")},
    {**UP, **gateway("gateway_refused_total", 'error="RateLimited"', "0+9x60")},
    {**UP, **gateway("gateway_jobs_total", 'outcome="done"', "0+9x60")},
    {**UP, **gateway("gateway_webhooks_total", 'outcome="delivered"', "0+9x60")},
    {**UP, **clips("face_detector", "request_success", "0+60x20 0+60x40")},
]
"""Nothing is wrong: waiting clips that are computed, 4 % failures, waits of 4 s, refusals long ago, ..."""


def judged(seconds: int) -> dict[str, str]:
    """Jobs of up to 60 s, and one in ten of `seconds`."""
    buckets = {"60": "0+9x60", "120": "0+9x60", "300": "0+10x60", "+Inf": "0+10x60"}
    if seconds <= 120:
        buckets["120"] = "0+10x60"
    made: dict[str, str] = {}
    for bound, values in buckets.items():
        made |= gateway("gateway_job_seconds_bucket", f'le="{bound}",stage="judged"', values)
    return made


def gpu(used: int) -> dict[str, str]:
    labels = 'component="server",gpu_uuid="GPU-1",instance="a"'
    return {
        f"nv_gpu_memory_used_bytes{{{labels}}}": f"{used}x60",
        f"nv_gpu_memory_total_bytes{{{labels}}}": "100x60",
    }


def verdicts(**values: str) -> dict[str, str]:
    """Counters of verdicts by kind."""
    made: dict[str, str] = {}
    for verdict, samples in values.items():
        made |= gateway("deepfake_verdicts_total", f'reason="",verdict="{verdict}"', samples)
    return made


def probabilities(sums: str, counts: str) -> dict[str, str]:
    return {
        'deepfake_fake_probability_sum{component="gateway",instance="g"}': sums,
        'deepfake_fake_probability_count{component="gateway",instance="g"}': counts,
    }


OTHER_MODEL = {'deepfake_model_info{component="gateway",instance="h",sha256="b"}': "1x60"}
OTHER_VERDICTS = {
    'deepfake_verdicts_total{component="gateway",instance="h",reason="",verdict="REAL"}': "0+4x60"
}
A = {"instance": "a"}
CASES = {
    **{f"quiet-{number}": Case(series) for number, series in enumerate(QUIET)},
    "quiet-slow-jobs": Case({**UP, **judged(120)}),
    "quiet-gpu": Case({**UP, **gpu(90)}),
    "no-triton": Case(GATEWAY_UP, {"DeepfakeTritonDown": [{}]}),
    "no-triton-for-a-minute": Case(GATEWAY_UP, at="1m"),
    "only-triton": Case(SERVER_UP, {"DeepfakeGatewayDown": [{}]}),
    "one-of-two": Case(
        {**UP, 'up{component="server",instance="b"}': "1x10 0x50"},
        {"DeepfakeTritonReplicaDown": [{"component": "server", "instance": "b"}]},
    ),
    "one-of-two-for-four-minutes": Case({**UP, 'up{component="server",instance="b"}': "1x10 0x50"}, at="14m"),
    "stalled": Case(
        {
            **UP,
            **clips("face_detector", "request_success", "0+60x20 1200x40"),
            **clips("face_detector", "pending_request_count", "3x60"),
        },
        {"DeepfakeTritonStalled": [A]},
    ),
    "restarts": Case(
        {**UP, **clips("face_detector", "request_success", "0+60x15 0+60x10 0+60x40")},
        {"DeepfakeTritonRestarts": [A]},
    ),
    "failing": Case(
        {**UP, **clips("deepfake_detector", "request_success", "0+90x60"), **failures("0+10x60")},
        {"DeepfakeTritonFailing": [{}]},
    ),
    "slow-queue": Case(
        {**UP, **BUSY, **clips("face_detector", "queue_duration_us", "0+360000000x60")},
        {"DeepfakeQueueSlow": [{}]},
    ),
    "refusing": Case(
        {**UP, **gateway("deepfake_refused_total", 'server="t:8001"', "0+1x60")}, {"DeepfakeRefusing": [{}]}
    ),
    "busy-gateway": Case(
        {**UP, **gateway("gateway_refused_total", 'error="GatewayBusy"', "0+1x60")},
        {"DeepfakeGatewayRefusing": [{"error": "GatewayBusy"}]},
    ),
    "slow-jobs": Case({**UP, **judged(300)}, {"DeepfakeGatewaySlow": [{}]}),
    "failing-jobs": Case(
        {
            **UP,
            **gateway("gateway_jobs_total", 'outcome="done"', "0+7x60"),
            **gateway("gateway_jobs_total", 'outcome="failed"', "0+3x60"),
        },
        {"DeepfakeGatewayFailing": [{}]},
    ),
    "lost-webhooks": Case(
        {**UP, **gateway("gateway_webhooks_total", 'outcome="given_up"', "0x30 1x30")},
        {"DeepfakeWebhooksLost": [{}]},
    ),
    "quiet-verdicts": Case({**UP, **verdicts(FAKE="0+40x60", INCONCLUSIVE="0+40x60")}),
    "few-verdicts": Case({**UP, **verdicts(INCONCLUSIVE="0+1x60")}),
    "inconclusive": Case(
        {**UP, **verdicts(FAKE="0+40x60", INCONCLUSIVE="0+60x60")}, {"DeepfakeManyInconclusive": [{}]}
    ),
    "shifted": Case(
        {**dict.fromkeys(UP, "1x240"), **probabilities("0+1x120 126+6x120", "0+10x240")},
        {"DeepfakeProbabilityShifted": [{}]},
        at="4h",
    ),
    "two-models": Case(
        {
            **UP,
            **gateway("deepfake_model_info", 'sha256="a"', "1x60"),
            **verdicts(REAL="0+4x60"),
            **OTHER_MODEL,
            **OTHER_VERDICTS,
        },
        {"DeepfakeModelsDiffer": [{}]},
    ),
    "one-idle-since-the-model-before": Case(
        {**UP, **gateway("deepfake_model_info", 'sha256="a"', "1x60"), **OTHER_MODEL, **OTHER_VERDICTS},
    ),
    "one-model-on-two": Case({**UP, **gateway("deepfake_model_info", 'sha256="b"', "1x60"), **OTHER_MODEL}),
    "full-gpu": Case({**UP, **gpu(96)}, {"DeepfakeGpuMemoryFull": [{**A, "gpu_uuid": "GPU-1"}]}),
}


def alerts() -> dict[str, Manifest]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def expected(rule: Manifest, labels: dict[str, str]) -> Manifest:
    """The alert as promtool describes it."""
    every = {"deployment": DEPLOYMENT, **labels}
    texts = {
        name: re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: every[found[1]], text)
        for name, text in rule["annotations"].items()
    }
    return {"exp_labels": {**every, **rule["labels"]}, "exp_annotations": texts}


def cases_file(cases: dict[str, Case]) -> str:
    """promtool's own format: every case says of every alert whether it fires."""
    tests = []
    for name, case in cases.items():
        series = [
            {"series": text.replace("{", f'{{deployment="{DEPLOYMENT}",', 1), "values": values}
            for text, values in case.series.items()
        ]
        asked = [
            {
                "eval_time": case.at,
                "alertname": alert,
                "exp_alerts": [expected(rule, labels) for labels in case.fires.get(alert, ())],
            }
            for alert, rule in alerts().items()
        ]
        tests.append({"name": name, "interval": "1m", "input_series": series, "alert_rule_test": asked})
    return yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests})


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run_tool("promtool", *arguments)


@needs_promtool
def test_promtool_accepts_the_file() -> None:
    done = promtool("check", "rules", RULES)
    assert done.returncode == 0 and "SUCCESS" in done.stdout, done.stderr


@needs_promtool
def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    (tmp_path / "cases.yaml").write_text(cases_file(CASES))
    done = promtool("test", "rules", tmp_path / "cases.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_a_wrong_expectation_fails(tmp_path: Path) -> None:
    wrong = Case(CASES["refusing"].series, {"DeepfakeTritonDown": [{}]})
    (tmp_path / "cases.yaml").write_text(cases_file({"wrong": wrong}))
    assert promtool("test", "rules", tmp_path / "cases.yaml").returncode != 0


def test_every_alert_fires_in_a_case() -> None:
    assert {alert for case in CASES.values() for alert in case.fires} == set(alerts())


def test_every_alert_has_a_severity_and_a_page_of_the_runbook() -> None:
    headings = re.findall(r"^### (\w+)$", (ROOT / "docs/guides/kubernetes.md").read_text(), re.MULTILINE)
    assert set(headings) >= set(alerts())
    for name, rule in alerts().items():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["runbook_url"] == f"RUNBOOK#{name.lower()}"


@needs_helm
def test_the_chart_has_the_same_rules_for_its_own_release_and_parts() -> None:
    watched: Manifest = {
        "monitoring.prometheusRule": {"enabled": True, "runbookUrl": "https://docs.example.org/k"},
        "monitoring.podMonitor": {"enabled": True, "gatewayKeySecret": "keys"},
    }
    (rule,) = of_kind(render_with({"device": "gpu", **watched}, release="r", namespace="n"), "PrometheusRule")
    text = RULES.read_text().replace(DEPLOYMENT, "n/r-deepfake-triton")
    assert rule["spec"] == yaml.safe_load(text.replace("RUNBOOK", "https://docs.example.org/k"))
    (rule,) = of_kind(render_with({"gateway.enabled": False, **watched}), "PrometheusRule")
    assert [group["name"] for group in rule["spec"]["groups"]] == ["deepfake-triton.servers"]
