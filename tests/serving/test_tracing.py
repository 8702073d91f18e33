"""One trace from a caller over the gateway to the ensemble and its steps, as a collector receives it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from running_gateway import running_gateway
from span_collector import CALLER, REQUEST, Span, collecting_spans

from deepfake_triton.client import DeepfakeClient, trace_context
from deepfake_triton.errors import ServerFailed
from deepfake_triton.gateway.settings import GatewaySettings
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch
from deepfake_triton.serving.arguments import DRAIN_TIMEOUT_S
from deepfake_triton.serving.server import ServerOptions, TritonServer

STEPS = {"face_detector", "face_tracker", "feature_extractor", "sequence_classifier", "probability_mask"}


def clients_make_spans() -> bool:
    """Whether this process has a provider of spans, as another test may have set one."""
    return isinstance(trace.get_tracer_provider(), TracerProvider)


def require_one_request(spans: list[Span]) -> None:
    """Assert that the request continues the caller's span, the ensemble that, and each step the ensemble.

    Where the client makes spans, they are between.
    """
    by_name = {span.name: span for span in spans if span.name != "compute"}
    assert set(by_name) == {REQUEST, "deepfake_detector", *STEPS}
    if not clients_make_spans():
        assert by_name[REQUEST].parent_id == CALLER
    assert by_name["deepfake_detector"].parent_id == by_name[REQUEST].span_id
    assert {by_name[name].parent_id for name in STEPS} == {by_name["deepfake_detector"].span_id}
    computed = [span.parent_id for span in spans if span.name == "compute"]
    assert sorted(computed) == sorted(by_name[name].span_id for name in STEPS)
    assert {span.service for span in spans} == {"deepfake-triton"}


@pytest.mark.triton
def test_a_caller_s_trace_goes_on_through_the_gateway_to_every_step(
    published_repository: Path, brief_clip: Path, clip_frames: FrameBatch
) -> None:
    sent: list[str] = []
    with collecting_spans() as collector:
        options = replace(ServerOptions.on_free_ports(published_repository), trace_endpoint=collector.url)
        with TritonServer(options) as server, DeepfakeClient(server.url) as client:

            def ask(traceparent: str) -> None:
                sent.append(traceparent)
                with trace_context(traceparent):
                    assert client.faces(clip_frames)

            def post(traceparent: str) -> None:
                sent.append(traceparent)
                answer = http.post(
                    "/v1/detect",
                    content=brief_clip.read_bytes(),
                    headers={"content-type": "video/mp4", "traceparent": traceparent},
                )
                assert answer.status_code == 200 and answer.json()["faces"], answer.text

            assert client.faces(clip_frames)  # nobody traces it, and it is not one of 1000
            require_one_request(collector.of_trace(collector.traced_by_triton(ask)))
            settings = GatewaySettings(urls=(server.url,), port=0, grpc_port=None)
            with (
                running_gateway(settings) as gateway,
                httpx.Client(base_url=gateway.url, timeout=60, trust_env=False) as http,
            ):
                post("no trace")
                require_one_request(collector.of_trace(collector.traced_by_triton(post)))
        if not clients_make_spans():  # those are traces of their own
            assert {f"00-{span.trace_id}-{CALLER}-01" for span in collector.spans} <= set(sent)


@pytest.mark.triton
def test_one_of_n_requests_is_traced_and_a_collector_that_is_gone_costs_none(
    published_repository: Path, clip_frames: FrameBatch
) -> None:
    with collecting_spans() as collector:
        url = collector.url
    options = replace(ServerOptions.on_free_ports(published_repository), trace_endpoint=url, trace_rate=1)
    with TritonServer(options) as server, DeepfakeClient(server.url) as client:
        assert all(client.faces(clip_frames) for _ in range(3))
        server.close()
        assert server.process.returncode == 0, f"it had {DRAIN_TIMEOUT_S} s to send its spans"


@pytest.mark.fast
@pytest.mark.parametrize(
    "url",
    [
        "localhost:4318",
        "https://collector/v1/traces",
        "http://",
        "http://a b/",
        "http://a/,level=OFF",
        "http://[/",
    ],
)
def test_a_collector_s_address_that_triton_cannot_use_is_refused(url: str) -> None:
    with pytest.raises(ServerFailed, match="--trace-endpoint: got"):
        ServerOptions(Path("r"), trace_endpoint=url)


@pytest.mark.fast
def test_a_rate_of_traces_below_one_is_refused() -> None:
    with pytest.raises(ServerFailed, match="--trace-rate: got 0, expected 1 or more"):
        ServerOptions(Path("r"), trace_rate=0)
