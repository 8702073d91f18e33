"""The cost of a clip in counts that do not depend on the machine's load: a regression shows here first."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from network import TcpProxy

from deepfake_triton.benchmarks.measure.triton_statistics import TritonStatistics
from deepfake_triton.client import DeepfakeClient, FrameBatch, Transport
from deepfake_triton.serving.server import TritonServer

pytestmark = pytest.mark.triton

ENSEMBLE = "deepfake_detector"
MAX_EXECUTIONS, MAX_MEMORY_GROWTH = 16, 1.2


def test_one_clip_is_one_batch_for_each_network(
    published_server: TritonServer, clip_frames: FrameBatch
) -> None:
    url = published_server.url
    with TritonStatistics(url) as statistics, DeepfakeClient(url) as client:
        client.faces(clip_frames)
        before = statistics.now()
        client.faces(clip_frames)
        done = statistics.since(before, ENSEMBLE, 1)
    assert done["face_detector"].executions == {20: 1}
    assert done["feature_extractor"].executions == {1: 1}
    assert done["sequence_classifier"].executions == {1: 1}
    assert {name: counters.requests for name, counters in done.items() if counters.requests} == dict.fromkeys(
        (
            *("face_detector", "face_tracker", "feature_extractor", "sequence_classifier"),
            *("probability_mask", ENSEMBLE),
        ),
        1,
    )


def test_callers_share_batches(published_server: TritonServer, clip_frames: FrameBatch) -> None:
    url, clips = published_server.url, 24
    half = FrameBatch(clip_frames.data[:10], clip_frames.pts_seconds[:10], 1.0)
    with (
        TritonStatistics(url) as statistics,
        DeepfakeClient(url) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        client.faces(half)
        before = statistics.now()
        list(pool.map(client.faces, [half] * clips))
        done = statistics.since(before, ENSEMBLE, clips)
    for name in ("face_detector", "feature_extractor"):
        sizes = done[name].executions
        rows = 10 if name == "face_detector" else 1
        assert sum(size * count for size, count in sizes.items()) == clips * rows
        assert sum(sizes.values()) <= MAX_EXECUTIONS, f"{name}: {sizes}: callers hardly share a batch"


@pytest.mark.parametrize(
    ("transport", "max_share"),
    [(Transport.GRPC, 1.01), (Transport.SHARED_MEMORY, 0.02), (Transport.JPEG, 0.3)],
)
def test_bytes_on_the_wire(
    published_server: TritonServer, clip_frames: FrameBatch, *, transport: Transport, max_share: float
) -> None:
    with (
        TcpProxy(published_server.url) as proxy,
        DeepfakeClient(proxy.url, transport=transport) as client,
    ):
        client.faces(clip_frames)
        before = proxy.sent_bytes
        client.faces(clip_frames)
        sent = proxy.sent_bytes - before
    assert 100 < sent < max_share * clip_frames.data.nbytes
    if transport is Transport.GRPC:
        assert sent > clip_frames.data.nbytes


def test_a_server_does_not_grow_with_its_clips(
    published_server: TritonServer, clip_frames: FrameBatch
) -> None:
    def memory_kib() -> int:
        status = Path(f"/proc/{published_server.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        assert found
        return int(found[1])

    with DeepfakeClient(published_server.url) as client, ThreadPoolExecutor(4) as pool:
        list(pool.map(client.faces, [clip_frames] * 8))
        before = memory_kib()
        list(pool.map(client.faces, [clip_frames] * 16))
    assert memory_kib() < MAX_MEMORY_GROWTH * before


def test_shared_memory_is_copied_to_once(published_server: TritonServer, clip_frames: FrameBatch) -> None:
    """The frames are written where the server reads them: no other copy of their size is made."""
    import tracemalloc

    with DeepfakeClient(published_server.url, transport=Transport.SHARED_MEMORY) as client:
        client.faces(clip_frames)
        large = FrameBatch(np.repeat(clip_frames.data, 3, axis=1), clip_frames.pts_seconds, 1.0)
        client.faces(large)
        tracemalloc.start()
        client.faces(large)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < large.data.nbytes / 2
