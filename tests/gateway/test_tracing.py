"""One trace from a caller through gateway, client and ensemble to its steps, as a collector receives it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_process import GatewayProcess, gateway_process
from span_collector import ATTEMPTS, CALLER, REQUEST, SpanCollector, collecting_spans

from deepfake_triton.errors import InvalidOption
from deepfake_triton.gateway.settings import GatewaySettings
from deepfake_triton.gateway.tracing import SERVICE_NAME
from deepfake_triton.serving.server import ServerOptions, TritonServer

JOB, INFER, ENSEMBLE = "deepfake_triton.gateway.job", "deepfake_triton.infer", "deepfake_detector"
STEPS = {"face_detector", "face_tracker", "feature_extractor", "sequence_classifier", "probability_mask"}


@contextmanager
def traced_gateway(
    triton: TritonServer, folder: Path, *, endpoint: str, rate: int = 1
) -> Iterator[GatewayProcess]:
    """A gateway whose spans have all been sent when the context has ended."""
    with gateway_process(triton.url, folder, trace_endpoint=endpoint, trace_rate=rate) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def collector() -> Iterator[SpanCollector]:
    with collecting_spans() as collecting:
        yield collecting


@pytest.fixture(scope="module")
def traced_triton(published_repository: Path, collector: SpanCollector) -> Iterator[TritonServer]:
    """A Triton that sends spans, of its own accord of one request in 1000."""
    options = replace(ServerOptions.on_free_ports(published_repository), trace_endpoint=collector.url)
    with TritonServer(options) as server:
        yield server
        collector.spans.clear()


def post(gateway: GatewayProcess, content: bytes, **headers: str) -> httpx.Response:
    with httpx.Client(base_url=gateway.url, timeout=60, trust_env=False) as http:
        return http.post("/v1/detect", content=content, headers={"content-type": "video/mp4", **headers})


def require_chain(collector: SpanCollector, trace_id: str, *, parent_id: str) -> None:
    """Assert that the job continues the caller's span, and each part the one that asked for it."""
    spans = collector.with_request(trace_id)
    by_id = {span.span_id: span for span in spans}
    (job,) = [span for span in spans if span.name == JOB]
    assert job.parent_id == parent_id and job.service == SERVICE_NAME
    infers = {span.span_id for span in spans if span.name == INFER}
    requests = {span.span_id: span.parent_id for span in spans if span.name == REQUEST}
    ensembles = {span.span_id: span.parent_id for span in spans if span.name == ENSEMBLE}
    assert infers and set(requests.values()) == infers and set(ensembles.values()) == set(requests)
    for ensemble in ensembles:
        assert {span.name for span in spans if span.parent_id == ensemble} == STEPS
    for span in spans:
        ancestor = span
        while ancestor is not job:
            ancestor = by_id[ancestor.parent_id]


def require_verdict(answer: httpx.Response) -> None:
    assert answer.status_code == 200 and answer.json()["faces"], answer.text


@pytest.mark.triton
def test_a_caller_s_trace_goes_on_through_the_gateway_to_every_step(
    traced_triton: TritonServer, collector: SpanCollector, brief_clip: Path, tmp_path: Path
) -> None:
    clip = brief_clip.read_bytes()
    with traced_gateway(traced_triton, tmp_path, endpoint=collector.url, rate=1_000_000) as gateway:
        trace_id = collector.traced_by_triton(
            lambda sent: require_verdict(post(gateway, clip, traceparent=sent))
        )
    require_chain(collector, trace_id, parent_id=CALLER)
    assert {span.service for span in collector.of_trace(trace_id)} == {SERVICE_NAME, "deepfake-triton"}


@pytest.mark.triton
def test_a_job_that_nobody_traces_is_the_first_span_of_its_trace(
    traced_triton: TritonServer, collector: SpanCollector, brief_clip: Path, tmp_path: Path
) -> None:
    collector.spans.clear()
    clip = brief_clip.read_bytes()
    with traced_gateway(traced_triton, tmp_path, endpoint=collector.url) as gateway:
        for _ in range(ATTEMPTS):
            require_verdict(post(gateway, clip))
    traces = {span.trace_id for span in collector.spans if span.name == JOB}
    assert len(traces) == ATTEMPTS
    traced_by_triton = [trace_id for trace_id in sorted(traces) if collector.with_request(trace_id)]
    assert traced_by_triton
    for trace_id in traced_by_triton:
        require_chain(collector, trace_id, parent_id="")


@pytest.mark.triton
def test_a_job_that_is_not_sampled_leaves_no_span_here_or_in_triton(
    traced_triton: TritonServer, collector: SpanCollector, brief_clip: Path, tmp_path: Path
) -> None:
    collector.spans.clear()
    clip = brief_clip.read_bytes()
    unsampled = f"00-{'9f' * 16}-{CALLER}-00"
    sampled: set[str] = set()

    def ask(traceparent: str) -> None:
        require_verdict(post(gateway, clip, traceparent=traceparent))
        sampled.add(traceparent.split("-")[1])

    with traced_gateway(traced_triton, tmp_path, endpoint=collector.url, rate=1_000_000) as gateway:
        require_verdict(post(gateway, clip))
        require_verdict(post(gateway, clip, traceparent=unsampled))
        # Triton sends what it has in order: once the last has arrived, so would those before it.
        collector.traced_by_triton(ask)
    assert {span.trace_id for span in collector.spans} == sampled


@pytest.mark.triton
def test_spans_name_neither_the_file_nor_the_job(
    traced_triton: TritonServer, collector: SpanCollector, brief_clip: Path, tmp_path: Path
) -> None:
    collector.spans.clear()
    jobs: list[str] = []
    with (
        traced_gateway(traced_triton, tmp_path, endpoint=collector.url) as gateway,
        httpx.Client(base_url=gateway.url, timeout=60, trust_env=False) as http,
    ):
        for content in (brief_clip.read_bytes(), b"no video"):
            answer = http.post(
                "/v1/detect",
                files={"file": ("private-name.mp4", content, "video/mp4")},
                headers={"prefer": "respond-async"},
            )
            assert answer.status_code == 202, answer.text
            job = answer.json()["id"]
            while http.get(f"/v1/jobs/{job}").json()["state"] in ("queued", "running"):
                time.sleep(0.1)
            jobs.append(job)
    good, bad = [span for span in collector.spans if span.name == JOB]
    assert "NotAVideo" in bad.text and "STATUS_CODE_ERROR" in bad.text and "NotAVideo" not in good.text
    private = ("private-name", *jobs)
    assert not [span for span in collector.spans if any(name in span.text for name in private)]


@pytest.mark.triton
def test_a_collector_that_is_gone_costs_no_verdict_and_delays_the_end_by_seconds(
    traced_triton: TritonServer, brief_clip: Path, tmp_path: Path
) -> None:
    with collecting_spans() as gone:
        endpoint = gone.url
    with traced_gateway(traced_triton, tmp_path, endpoint=endpoint) as gateway:
        assert post(gateway, brief_clip.read_bytes()).status_code == 200
        gateway.process.terminate()
        assert gateway.process.wait(60) == 0


@pytest.mark.fast
@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"trace_endpoint": "localhost:4318"}, "--trace-endpoint: got 'localhost:4318'"),
        ({"trace_endpoint": "ftp://collector/"}, "--trace-endpoint: got"),
        ({"trace_endpoint": "http://a b/"}, "--trace-endpoint: got"),
        ({"trace_rate": 0}, "--trace-rate: got 0, expected 1 or more"),
    ],
)
def test_a_collector_that_is_no_url_and_a_rate_below_one_are_refused(
    wrong: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidOption, match=named):
        replace(GatewaySettings(trace_endpoint="https://collector:4318/v1/traces"), **wrong)
