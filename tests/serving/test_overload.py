"""More clips than a server can judge: what is too much is refused at once, and what was begun is finished."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from standing_servers import standing_server
from support import settled
from tritonclient import grpc
from tritonclient.grpc import model_config_pb2 as pb
from tritonclient.utils import InferenceServerException

from deepfake_triton.client import DeepfakeClient, FrameBatch, RetryPolicy
from deepfake_triton.errors import DeepfakeError, ServerOverloaded
from deepfake_triton.export.repository.configs import config_from_text, config_text
from deepfake_triton.export.repository.queue_sizing import (
    CLIPS_IN_FLIGHT,
    MAX_QUEUE,
    MIN_QUEUE,
    max_queue_for,
)
from deepfake_triton.preprocessing.jpeg import encode_frames
from deepfake_triton.repository.approval import accept
from deepfake_triton.repository.files import CONFIG_NAME
from deepfake_triton.serving.server import TritonServer

pytestmark = pytest.mark.triton

ONCE = RetryPolicy(attempts=1)
WAITING = 3
GRAPHS = ("face_detector", "feature_extractor", "sequence_classifier")


@pytest.fixture(scope="module")
def server(default_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    output = tmp_path_factory.mktemp("overload") / "repository"
    shutil.copytree(default_repository, output)
    path = output / "face_detector" / CONFIG_NAME
    config = config_from_text(path.read_text())
    config.dynamic_batching.default_queue_policy.max_queue_size = WAITING
    path.write_text(config_text(config))
    accept(output)
    with standing_server(output) as running:
        yield running


@pytest.fixture
def short_clip(clip_frames: FrameBatch) -> FrameBatch:
    """Frames that cost little: where clips are counted, and not what each of them takes."""
    return FrameBatch(clip_frames.data[:8], clip_frames.pts_seconds[:8], 1.0)


def requests(server: TritonServer, outcome: str) -> dict[str, int]:
    """How many requests to each graph ended so, by Triton's statistics."""
    with grpc.InferenceServerClient(server.url) as connection:

        def read() -> dict[str, int]:
            found = {}
            for name in GRAPHS:
                stats = connection.get_inference_statistics(name, as_json=True)["model_stats"][0]
                found[name] = int(stats["inference_stats"].get(outcome, {}).get("count", 0))
            return found

        return dict(settled(read))


def outcomes(client: DeepfakeClient, clip: FrameBatch, starts_s: list[float]) -> list[tuple[str, float]]:
    """What each of the requests, sent at these times, came to, and how long that took."""
    begin = time.monotonic()

    def ask(start_s: float) -> tuple[str, float]:
        time.sleep(max(0.0, begin + start_s - time.monotonic()))
        sent_s = time.monotonic()
        try:
            client.faces(clip)
            kind = "answer"
        except DeepfakeError as error:
            kind = type(error).__name__
        return kind, time.monotonic() - sent_s

    with ThreadPoolExecutor(len(starts_s)) as pool:
        return list(pool.map(ask, starts_s))


def test_what_is_too_much_is_refused_at_once_and_what_was_begun_is_finished(
    server: TritonServer, clip_frames: FrameBatch
) -> None:
    done, failed = requests(server, "success"), requests(server, "fail")
    with DeepfakeClient(server.url, timeout_s=120, retry=ONCE) as asking:
        found = outcomes(asking, clip_frames, [0.0] * 40)
    answers = [seconds for kind, seconds in found if kind == "answer"]
    refusals = [seconds for kind, seconds in found if kind == "ServerOverloaded"]
    assert len(answers) + len(refusals) == 40 and len(answers) >= WAITING and len(refusals) >= 15
    assert np.median(refusals) < np.median(answers) / 2
    after = requests(server, "success")
    for name in GRAPHS:
        assert after[name] - done[name] == len(answers), f"{name} worked for answers alone"
    later = GRAPHS[1:]
    failed_after = requests(server, "fail")
    assert [failed_after[name] for name in later] == [failed[name] for name in later]


def test_callers_who_come_again_are_all_answered(server: TritonServer, short_clip: FrameBatch) -> None:
    retry = RetryPolicy(attempts=50, burst=1000)
    with DeepfakeClient(server.url, timeout_s=120, retry=retry) as asking:
        found = outcomes(asking, short_clip, [0.0] * 24)
    assert [kind for kind, _ in found] == ["answer"] * 24


def test_twice_the_load_costs_no_throughput(server: TritonServer, short_clip: FrameBatch) -> None:
    with DeepfakeClient(server.url, timeout_s=120, retry=ONCE) as asking:
        peak = max(_throughput(asking, short_clip, callers, seconds=3) for callers in (1, 2))
        count = int(2 * peak * 8)
        begin = time.monotonic()
        found = outcomes(asking, short_clip, [index / (2 * peak) for index in range(count)])
        took = time.monotonic() - begin
    answers = [seconds for kind, seconds in found if kind == "answer"]
    assert {kind for kind, _ in found} == {"answer", "ServerOverloaded"}
    assert len(answers) / took > 0.6 * peak, "0.9 and more where nobody else is at work"
    assert np.percentile(answers, 95) < 3 * (WAITING + CLIPS_IN_FLIGHT) / peak


def _throughput(client: DeepfakeClient, clip: FrameBatch, callers: int, *, seconds: float) -> float:
    end, counts, lock = time.monotonic() + seconds, [0], threading.Lock()

    def ask() -> None:
        while time.monotonic() < end:
            client.faces(clip)
            with lock:
                counts[0] += 1

    begin = time.monotonic()
    with ThreadPoolExecutor(callers) as pool:
        for job in [pool.submit(ask) for _ in range(callers)]:
            job.result()
    return counts[0] / (time.monotonic() - begin)


def test_the_served_queues(server: TritonServer) -> None:
    with grpc.InferenceServerClient(server.url) as connection:
        policies = {
            name: connection.get_model_config(name).config.dynamic_batching.default_queue_policy
            for name in GRAPHS
        }
    assert all(policy.timeout_action == pb.ModelQueuePolicy.REJECT for policy in policies.values())
    assert all(policy.default_timeout_microseconds > 0 for policy in policies.values())
    first, *later = (policies[name].max_queue_size for name in GRAPHS)
    assert first == WAITING and all(size > 10 * MAX_QUEUE for size in later)


def test_the_queue_fits_the_machine(published_repository: Path) -> None:
    assert max_queue_for(10_000) == MIN_QUEUE and max_queue_for(0) == MAX_QUEUE
    assert max_queue_for(200) == 21
    report = json.loads((published_repository / "export_report.json").read_text())
    assert report["queue"]["clip_ms"] > 0
    assert report["queue"]["max_queue_size"] == max_queue_for(report["queue"]["clip_ms"])


def test_the_error_says_what_to_do(server: TritonServer, short_clip: FrameBatch) -> None:
    messages = []
    with DeepfakeClient(server.url, timeout_s=60, retry=ONCE) as asking, ThreadPoolExecutor(30) as pool:
        for job in [pool.submit(asking.faces, short_clip) for _ in range(30)]:
            try:
                job.result()
            except ServerOverloaded as error:
                messages.append(str(error))
    assert messages and all("retry later, or use another server" in message for message in messages)


def at_once(
    server: TritonServer,
    model: str,
    tensor: str,
    *,
    values: Sequence[np.ndarray],
    timeout_us: int | None = None,
) -> list[str]:
    """What requests sent at the same time came to: "answer", or Triton's status and words."""
    found: list[str] = []
    everything = threading.Semaphore(0)

    def note(result: grpc.InferResult | None, error: InferenceServerException | None) -> None:
        found.append("answer" if error is None else f"{error.status()} {error.message()}")
        everything.release()

    with grpc.InferenceServerClient(server.url) as connection:
        for each in values:
            dtype = "BYTES" if each.dtype == np.object_ else "FP32" if each.dtype == np.float32 else "UINT8"
            tensors = [grpc.InferInput(tensor, list(each.shape), dtype)]
            tensors[0].set_data_from_numpy(each)
            if model == "face_tracker":
                candidates = np.zeros((len(each), 32, 15), np.float32)
                tensors.append(grpc.InferInput("detections", list(candidates.shape), "FP32"))
                tensors[1].set_data_from_numpy(candidates)
            connection.async_infer(model, tensors, note, timeout=timeout_us)
        for _ in values:
            assert everything.acquire(timeout=60)
    return found


FULL = "StatusCode.UNAVAILABLE [request id: <id_unknown>] Exceeds maximum queue size"
EXPIRED = "Request timeout expired"


def test_the_steps_in_python_refuse_what_their_queues_cannot_hold(server: TritonServer) -> None:
    frames = np.zeros((64, 16, 16, 3), np.uint8)
    found = at_once(server, "face_tracker", "frames", values=[frames] * 400)
    assert set(found) == {"answer", FULL} and found.count("answer") >= 128
    files = np.array(encode_frames(np.zeros((64, 360, 640, 3), np.uint8)), object)
    found = at_once(server, "frame_decoder", "encoded_frames", values=[files] * (MAX_QUEUE + 20))
    assert set(found) == {"answer", FULL} and found.count("answer") >= MIN_QUEUE


def test_a_callers_deadline_is_its_time_in_the_queues(server: TritonServer, clip_frames: FrameBatch) -> None:
    clips = [clip_frames.data] * 3
    found = at_once(server, "deepfake_detector", "frames", values=clips, timeout_us=1)
    expired = f"StatusCode.UNAVAILABLE in ensemble 'deepfake_detector', {EXPIRED}"
    assert expired in found and set(found) <= {"answer", expired}
    in_time = at_once(server, "deepfake_detector", "frames", values=clips, timeout_us=60_000_000)
    assert in_time == ["answer"] * 3


@pytest.mark.parametrize(
    ("model", "tensor", "busy"),
    [
        ("feature_extractor", "faces", np.zeros((8, 8, 112, 112, 3), np.uint8)),
        ("sequence_classifier", "features", np.zeros((8, 64, 2048), np.float32)),
        ("face_tracker", "frames", np.zeros((64, 16, 16, 3), np.uint8)),
    ],
)
def test_every_later_step_gives_up_what_nobody_waits_for(
    server: TritonServer, *, model: str, tensor: str, busy: np.ndarray
) -> None:
    found = at_once(server, model, tensor, values=[busy] * 12, timeout_us=1000)
    assert any(each == f"StatusCode.UNAVAILABLE {EXPIRED}" for each in found), found
