"""Jobs between real parts: a spooled file, its decoding process, the client and a real Triton."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from running_gateway import running_gateway
from support import settled, write_clip
from tritonclient import grpc
from webhook_receiver import SECRET, receiving

from deepfake_triton import contracts
from deepfake_triton.client import AsyncDeepfakeClient, DeepfakeClient, FrameSelection
from deepfake_triton.errors import NotAVideo
from deepfake_triton.gateway.decoding.pool import DecoderPool
from deepfake_triton.gateway.jobs.events import WindowJudged
from deepfake_triton.gateway.jobs.job import Job, JobRequest, JobState
from deepfake_triton.gateway.jobs.jobs import Jobs
from deepfake_triton.gateway.metrics import GatewayMetrics
from deepfake_triton.gateway.settings import GatewaySettings, Limits, Webhooks
from deepfake_triton.gateway.uploads.spool import Spool
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch
from deepfake_triton.serving.server import TritonServer

pytestmark = pytest.mark.triton

WINDOWS = 20
SELECTION = FrameSelection(num_frames=4, windows=WINDOWS)


@dataclass(frozen=True)
class Parts:
    """Jobs and the spool before them."""

    jobs: Jobs
    spool: Spool

    async def submit(self, content: bytes, request: JobRequest) -> Job:
        """Receive these bytes as `clip.mp4`, and submit them."""
        async with self.spool.receive(len(content)) as writer:
            await writer.write(content)
            return self.jobs.submit(await writer.finish("clip.mp4"), request)


@asynccontextmanager
async def parts_before(server: TritonServer, limits: Limits, spool: Path) -> AsyncIterator[Parts]:
    """Start what a gateway is made of, without its front."""
    decoders = DecoderPool(limits)
    await decoders.start()
    async with AsyncDeepfakeClient(server.url) as client:
        jobs = Jobs(client, decoders, limits, metrics=GatewayMetrics())
        await jobs.start()
        try:
            yield Parts(jobs, Spool(spool, limits))
        finally:
            await jobs.close(grace_s=30)
            await decoders.close()


def runs(server: TritonServer) -> int:
    """How often the ensemble has run."""
    name = contracts.deepfake_detector().name
    with grpc.InferenceServerClient(server.url) as connection:

        def read() -> int:
            stats = connection.get_inference_statistics(name, as_json=True)["model_stats"][0]
            return int(stats.get("inference_stats", {}).get("success", {}).get("count", 0))

        return int(settled(read))


@pytest.fixture(scope="module")
def long_clip(clip_frames: FrameBatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip with room for all windows."""
    frames = list(clip_frames.data[:8]) * (WINDOWS // 2 + 1)
    return write_clip(tmp_path_factory.mktemp("long") / "clip.mp4", frames)


def test_a_job_says_what_the_client_says_and_nothing_is_left(
    published_server: TritonServer, long_clip: Path, tmp_path: Path
) -> None:
    selection = FrameSelection(num_frames=8, windows=3)
    with DeepfakeClient(published_server.url) as client:
        expected = client.detect(long_clip, selection).as_dict()

    async def run() -> Job:
        async with parts_before(published_server, Limits(), tmp_path) as parts:
            request = JobRequest(selection, wants_preview=True)
            job = await parts.submit(long_clip.read_bytes(), request)
            await job.ended()
            while job.preview_is_coming:
                await asyncio.sleep(0.02)
            assert job.preview is not None
            (tmp_path.parent / "preview.mp4").write_bytes(job.preview.read())
            assert list(tmp_path.iterdir()) == []
            return job

    job = asyncio.run(run())
    assert job.state is JobState.DONE and job.verdict
    # The library reads no Content Credentials; those who call it do.
    same = {"video": "clip.mp4"} | {key: expected[key] for key in ("latency_ms", "content_credentials")}
    assert job.verdict.as_dict() | same == expected | same
    assert job.upload.file.closed and (job.preview is None or job.preview.closed)
    windows = [stamped.event for stamped in job.events if isinstance(stamped.event, WindowJudged)]
    assert [event.windows_judged for event in windows] == [1, 2, 3]
    assert all(event.fake_probability is not None for event in windows)
    with DeepfakeClient(published_server.url) as client:
        assert client.detect(tmp_path.parent / "preview.mp4").faces, "the preview shows the same person"


def test_a_canceled_job_asks_no_further_window_and_the_server_lives(
    published_server: TritonServer, long_clip: Path, tmp_path: Path
) -> None:
    before = runs(published_server)

    async def run() -> tuple[Job, Job, int]:
        async with parts_before(published_server, Limits(max_running=1), tmp_path) as parts:
            content = long_clip.read_bytes()
            canceled = await parts.submit(content, JobRequest(SELECTION))
            following = await parts.submit(content, JobRequest(FrameSelection(num_frames=4)))
            async for stamped in canceled.follow():
                if isinstance(stamped.event, WindowJudged):
                    break
            parts.jobs.cancel(canceled)
            assert canceled.state is JobState.CANCELED
            assert parts.jobs.num_active(None) == 2, "its calls are still on their way"
            await following.ended()
            asked = await asyncio.to_thread(runs, published_server)
            return canceled, following, asked - before

    canceled, following, asked = asyncio.run(run())
    assert following.state is JobState.DONE
    assert canceled.verdict is None and canceled.upload.file.closed
    assert 2 <= asked < WINDOWS // 2, f"{asked} windows were judged, that of the next job included"


def test_a_crowd_is_judged_in_turn_and_hostile_files_cost_only_themselves(
    published_server: TritonServer, brief_clip: Path, tmp_path: Path
) -> None:
    content = brief_clip.read_bytes()

    async def run() -> list[Job]:
        limits = Limits(max_running=3, max_queued=40)
        async with parts_before(published_server, limits, tmp_path) as parts:
            received = [
                parts.submit(content if index % 3 else b"\0" * 5000, JobRequest(owner=f"{index % 2}"))
                for index in range(15)
            ]
            jobs = list(await asyncio.gather(*received))
            await asyncio.gather(*(job.ended() for job in jobs))
            return jobs

    jobs = asyncio.run(run())
    for index, job in enumerate(jobs):
        if index % 3:
            assert job.state is JobState.DONE and job.verdict
        else:
            assert job.state is JobState.FAILED and isinstance(job.error, NotAVideo)
            assert "clip.mp4" in str(job.error)
    assert all(job.upload.file.closed for job in jobs)


def test_a_gateway_announces_its_verdicts(published_server: TritonServer, brief_clip: Path) -> None:
    with receiving() as receiver:
        settings = GatewaySettings(
            urls=(published_server.url,),
            port=0,
            grpc_port=None,
            webhooks=Webhooks(SECRET, f"http://127.0.0.1:{receiver.port}/hook"),
        )
        with running_gateway(settings) as gateway:
            answer = httpx.post(f"{gateway.url}/v1/detect", content=brief_clip.read_bytes(), timeout=60)
            metrics = httpx.get(f"{gateway.url}/metrics").text
    (document,) = receiver.documents()
    assert document["type"] == "job.done" and isinstance(document["data"], dict)
    assert document["data"]["result"] == answer.json()
    assert 'gateway_jobs_total{outcome="done"} 1.0' in metrics
    judged, model = answer.json(), answer.json()["model"]
    verdict, reason = judged["verdict"], judged["reason"] or ""
    assert f'deepfake_verdicts_total{{reason="{reason}",verdict="{verdict}"}} 1.0' in metrics
    assert f"deepfake_fake_probability_sum {judged['fake_probability']}" in metrics
    labels = f'name="{model["name"]}",sha256="{model["sha256"]}",version="{model["version"]}"'
    assert f'deepfake_model_info{{{labels},weights="{model["weights"]}"}} 1.0' in metrics
    assert f"gateway_upload_bytes_total {float(brief_clip.stat().st_size)}" in metrics
