"""Metrics, as Prometheus reads them."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from deepfake_triton.client import RequestCounts
from deepfake_triton.gateway.metrics import GatewayMetrics

pytestmark = pytest.mark.fast


def samples(metrics: GatewayMetrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Values by name and labels."""
    families = text_string_to_metric_families(metrics.text().decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}


def test_every_metric_is_told_and_gateways_do_not_share_them() -> None:
    metrics, other = GatewayMetrics(), GatewayMetrics()
    assert samples(metrics)["gateway_jobs_total", (("outcome", "failed"),)] == 0, "a rate needs its zero"
    metrics.ended("failed")
    metrics.refused("GatewayBusy")
    metrics.refused("GatewayBusy")
    metrics.overloaded("10.0.0.1:8001")
    metrics.load(running=2, queued=7)
    metrics.stage_seconds("queued", 0.3)
    metrics.uploaded(1234)
    metrics.webhook("delivered")
    told = samples(metrics)
    assert told["gateway_jobs_total", (("outcome", "failed"),)] == 1
    assert told["gateway_refused_total", (("error", "GatewayBusy"),)] == 2
    assert told["deepfake_refused_total", (("server", "10.0.0.1:8001"),)] == 1
    assert (told["gateway_jobs_running", ()], told["gateway_jobs_queued", ()]) == (2, 7)
    assert told["gateway_job_seconds_bucket", (("le", "0.25"), ("stage", "queued"))] == 0
    assert told["gateway_job_seconds_bucket", (("le", "0.5"), ("stage", "queued"))] == 1
    assert told["gateway_upload_bytes_total", ()] == 1234
    assert told["gateway_webhooks_total", (("outcome", "delivered"),)] == 1
    metrics.follow_client(lambda: RequestCounts({"a:1": 3, "b:1": 1}, {"a:1": 2}, {}))
    told = samples(metrics)
    assert told["deepfake_requests_total", (("outcome", "answered"), ("server", "b:1"))] == 1
    assert told["deepfake_requests_total", (("outcome", "refused"), ("server", "a:1"))] == 2
    assert samples(other)["gateway_upload_bytes_total", ()] == 0


def test_what_alerts_count_begins_at_zero() -> None:
    """The first loss or refusal would have no increase otherwise."""
    text = GatewayMetrics().text().decode()
    for outcome in ("delivered", "given_up", "dropped"):
        assert f'gateway_webhooks_total{{outcome="{outcome}"}} 0.0' in text
    for error in ("GatewayBusy", "SpoolFull"):
        assert f'gateway_refused_total{{error="{error}"}} 0.0' in text
