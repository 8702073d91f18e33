"""What a clip costs in counts that do not depend on the machine's mood: a regression shows here first."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from support import TcpProxy

from deepfake_triton.benchmarks.triton_work import TritonWork
from deepfake_triton.client import DeepfakeClient, FrameBatch, Transport
from deepfake_triton.serving.server import TritonServer

ENSEMBLE = "deepfake_detector"
FEWEST_EXECUTIONS, MOST_MEMORY_MIB = 16, 1.2


def test_one_clip_is_one_batch_for_each_network(
    published_server: TritonServer, clip_frames: FrameBatch
) -> None:
    work = TritonWork(published_server.url)
    with DeepfakeClient(published_server.url) as client:
        client.faces(clip_frames)
        before = work.now()
        client.faces(clip_frames)
        done = work.since(before, ENSEMBLE, 1)
    work.close()
    assert done["face_detector"].executions == {20: 1}
    assert done["feature_extractor"].executions == {1: 1}
    assert done["sequence_classifier"].executions == {1: 1}
    assert {name: each.requests for name, each in done.items() if each.requests} == dict.fromkeys(
        ("face_detector", "face_tracker", "feature_extractor", "sequence_classifier", ENSEMBLE), 1
    )


def test_callers_share_batches(published_server: TritonServer, clip_frames: FrameBatch) -> None:
    work = TritonWork(published_server.url)
    clips = 24
    with DeepfakeClient(published_server.url) as client, ThreadPoolExecutor(8) as pool:
        client.faces(clip_frames)
        before = work.now()
        list(pool.map(client.faces, [clip_frames] * clips))
        done = work.since(before, ENSEMBLE, clips)
    work.close()
    for name in ("face_detector", "feature_extractor"):
        sizes = done[name].executions
        each = 20 if name == "face_detector" else 1
        assert sum(size * count for size, count in sizes.items()) == clips * each
        assert sum(sizes.values()) <= FEWEST_EXECUTIONS, f"{name}: {sizes}: callers are hardly put together"


@pytest.mark.parametrize(
    ("transport", "most_share"),
    [(Transport.GRPC, 1.01), (Transport.SHARED_MEMORY, 0.02), (Transport.JPEG, 0.3)],
)
def test_bytes_on_the_wire(
    published_server: TritonServer, clip_frames: FrameBatch, transport: Transport, most_share: float
) -> None:
    with (
        TcpProxy(published_server.url) as proxy,
        DeepfakeClient(proxy.url, transport=transport) as client,
    ):
        client.faces(clip_frames)
        before = proxy.sent_bytes
        client.faces(clip_frames)
        sent = proxy.sent_bytes - before
    assert 100 < sent < most_share * clip_frames.data.nbytes
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
        list(pool.map(client.faces, [clip_frames] * 32))
    assert memory_kib() < MOST_MEMORY_MIB * before


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
