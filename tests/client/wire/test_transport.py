"""Shared memory and gRPC against real servers: the same answers, and nothing left behind."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from network import free_port
from region_files import region_files
from tritonclient import grpc

from deepfake_triton.client import (
    AsyncDeepfakeClient,
    ConnectionOptions,
    DeepfakeClient,
    RetryPolicy,
    Transport,
)
from deepfake_triton.client.protocol import exchange
from deepfake_triton.client.wire.shared_memory import Region, RegionPool, sweep_files
from deepfake_triton.errors import DeadlineExceeded, ServerError, TransportUnavailable
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch
from deepfake_triton.serving.process.watch import Watch
from deepfake_triton.serving.server import ServerOptions, TritonServer
from deepfake_triton.shared_memory.key import user_key
from deepfake_triton.shared_memory.regions import is_orphan

pytestmark = pytest.mark.triton


_of_others: set[str] = set()
"""Regions of the suite's own client, which stays open."""


def regions(server: TritonServer) -> list[str]:
    """What the server has open of the clients of a test."""
    headers = ConnectionOptions().shared_memory_headers(user_key())
    with grpc.InferenceServerClient(server.url) as connection:
        known = connection.get_system_shared_memory_status(headers=headers, as_json=True).get("regions", {})
    return [name for name in known if name.startswith("deepfake-triton-client") and name not in _of_others]


@pytest.fixture(autouse=True)
def _remember_others(published_server: TritonServer) -> None:
    _of_others.clear()
    _of_others.update(regions(published_server))


@pytest.fixture(scope="module")
def wanted(published_server: TritonServer, clip_frames: FrameBatch) -> float:
    with DeepfakeClient(published_server.url, transport=Transport.GRPC) as asking:
        (face,) = asking.faces(clip_frames)
        return face.fake_probability


def test_shared_memory_is_chosen_on_one_host_and_gives_the_same_answer(
    published_server: TritonServer, clip_frames: FrameBatch, wanted: float
) -> None:
    for transport in (Transport.AUTO, Transport.SHARED_MEMORY):
        with DeepfakeClient(published_server.url, transport=transport) as asking:
            for _ in range(3):
                assert asking.faces(clip_frames)[0].fake_probability == wanted
            assert len(regions(published_server)) == 1, "one after another, one region is enough"
            assert region_files() == []
        assert regions(published_server) == []


def test_callers_at_once_do_not_see_each_others_frames(
    published_server: TritonServer, clip_frames: FrameBatch
) -> None:
    clips = [
        FrameBatch(np.roll(clip_frames.data[:4], 3 * shift, axis=2), clip_frames.pts_seconds[:4], 1.0)
        for shift in range(12)
    ]
    with DeepfakeClient(published_server.url, transport=Transport.GRPC) as asking:
        alone = [asking.faces(clip)[0].fake_probability for clip in clips]
    assert len(set(alone)) > 6
    with DeepfakeClient(published_server.url) as asking, ThreadPoolExecutor(8) as pool:
        together = [faces[0].fake_probability for faces in pool.map(asking.faces, clips)]
        assert 1 < len(regions(published_server)) <= 8
    assert together == pytest.approx(alone, abs=1e-4)
    assert regions(published_server) == [] and region_files() == []


def test_the_asynchronous_client_shares_memory_too(
    published_server: TritonServer, clip_frames: FrameBatch, wanted: float
) -> None:
    async def ask() -> list[float]:
        async with AsyncDeepfakeClient(published_server.url) as asking:
            answers = await asyncio.gather(*(asking.faces(clip_frames) for _ in range(6)))
            assert 1 <= len(regions(published_server)) <= 6
            return [faces[0].fake_probability for faces in answers]

    assert asyncio.run(ask()) == pytest.approx([wanted] * 6, abs=1e-4)
    assert regions(published_server) == [] and region_files() == []


def test_a_server_that_restarts_is_lent_memory_again(
    published_repository: Path, clip_frames: FrameBatch, wanted: float
) -> None:
    port = free_port()
    options = ServerOptions(published_repository, grpc_port=port, http_port=0, metrics_port=0)
    retry = RetryPolicy(attempts=100, longest_delay_s=0.5, burst=1000)
    with DeepfakeClient(
        f"127.0.0.1:{port}", timeout_s=90, retry=retry, transport=Transport.SHARED_MEMORY
    ) as asking:
        for _ in range(2):
            with TritonServer(options) as server:
                assert asking.faces(clip_frames)[0].fake_probability == pytest.approx(wanted, abs=1e-4)
                assert len(regions(server)) == 1
                server.kill()
    assert region_files() == []


def test_what_a_killed_client_left_is_swept(published_server: TritonServer, clip_frames: FrameBatch) -> None:
    code = (
        "import sys, threading, numpy as np\n"
        "from deepfake_triton.client import DeepfakeClient, FrameBatch\n"
        "frames = FrameBatch(np.zeros((20, 360, 640, 3), np.uint8), np.arange(20.0), 20.0)\n"
        "client = DeepfakeClient(sys.argv[1])\n"
        "client.faces(frames)\n"
        "print('asked', flush=True)\n"
        "while True: client.faces(frames)\n"
    )

    def left_by_a_killed_client() -> list[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, published_server.url], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout and process.stdout.readline() == "asked\n"
        time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        return regions(published_server)

    for sweep in ("the server's", "the next client's"):
        (name,) = left_by_a_killed_client()
        assert is_orphan(name) and region_files() == []
        deadline = time.monotonic() + 20
        while regions(published_server) and time.monotonic() < deadline:
            if sweep == "the server's":
                Watch(published_server.process.pid, published_server._http).check()
            else:
                with DeepfakeClient(published_server.url) as asking:
                    assert asking.faces(clip_frames)
        assert regions(published_server) == []


def test_one_client_after_another_leaves_nothing(
    published_server: TritonServer, clip_frames: FrameBatch
) -> None:
    """Triton may still keep a region when its request's answer has come."""
    few = FrameBatch(clip_frames.data[:2], clip_frames.pts_seconds[:2], 1.0)
    for _ in range(40):
        with DeepfakeClient(published_server.url) as asking:
            asking.faces(few)
    assert regions(published_server) == []


def test_a_client_that_closes_waits_for_what_is_on_its_way(published_server: TritonServer) -> None:
    long = FrameBatch(np.zeros((40, 640, 640, 3), np.uint8), np.arange(40.0), 40.0)
    asking = DeepfakeClient(published_server.url)
    asking.faces(long)  # its memory is registered
    for timeout_s in (0.15, 0.3, 0.6):  # a busy machine takes its time to fill the region
        with pytest.raises(DeadlineExceeded):
            asking.faces(long, timeout_s=timeout_s)
        if asking._connections.in_flight():
            break
    assert len(asking._connections.in_flight()) == 1
    asking.close()
    assert not asking._connections.in_flight() and regions(published_server) == []


def test_what_a_closed_client_had_to_leave_is_swept(
    published_server: TritonServer, clip_frames: FrameBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = FrameBatch(np.zeros((64, 720, 1280, 3), np.uint8), np.arange(64.0), 64.0)
    monkeypatch.setattr(exchange, "CLOSE_TIMEOUT_S", 0.1)
    with ThreadPoolExecutor(1) as pool:
        asking = DeepfakeClient(published_server.url)
        answer = pool.submit(asking.faces, long)
        while not regions(published_server):
            time.sleep(0.01)
        time.sleep(0.5)
        while not asking._connections.in_flight():  # a busy machine takes its time to fill the region
            time.sleep(0.01)
        asking.close()
        (name,) = regions(published_server)
        assert is_orphan(name)
        closed_s = time.monotonic()
        with pytest.raises(ServerError):
            answer.result()
        assert time.monotonic() - closed_s < 10, "a closed client tries nothing again"
    deadline = time.monotonic() + 30
    while regions(published_server) and time.monotonic() < deadline:
        with DeepfakeClient(published_server.url) as asking:
            asking.faces(clip_frames)
    assert regions(published_server) == []


def test_a_file_that_a_killed_client_left_is_swept() -> None:
    code = (
        "import os\nfrom deepfake_triton.client.wire.shared_memory import Region\n"
        "print(Region(10).key, flush=True)\nos.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    left = done.stdout.strip().removeprefix("/")
    mine = Region(10)
    try:
        assert {left, mine.key.removeprefix("/")} <= set(region_files())
        sweep_files()
        assert left not in region_files() and mine.key.removeprefix("/") in region_files()
    finally:
        mine.unlink()


@pytest.fixture(scope="module")
def open_server(published_repository: Path) -> Iterator[TritonServer]:
    """Other hosts reach it; shared memory takes a key."""
    options = replace(
        ServerOptions.on_free_ports(published_repository), host="0.0.0.0", shared_memory_key="let-me-in"
    )
    with TritonServer(options) as server:
        yield server


def test_where_it_is_closed_frames_are_sent(
    open_server: TritonServer, clip_frames: FrameBatch, wanted: float
) -> None:
    url = f"127.0.0.1:{open_server.grpc_port}"
    with DeepfakeClient(url) as asking:
        assert asking.faces(clip_frames)[0].fake_probability == pytest.approx(wanted, abs=1e-4)
    for key in (None, "wrong"):
        connection = ConnectionOptions(shared_memory_key=key)
        with (
            DeepfakeClient(url, transport=Transport.SHARED_MEMORY, connection=connection) as asking,
            pytest.raises(TransportUnavailable, match="shared memory cannot be used"),
        ):
            asking.faces(clip_frames)
    connection = ConnectionOptions(shared_memory_key="let-me-in")
    with DeepfakeClient(url, transport=Transport.SHARED_MEMORY, connection=connection) as asking:
        assert asking.faces(clip_frames)[0].fake_probability == pytest.approx(wanted, abs=1e-4)
        assert len(open_server._http.shared_regions()) == 1
    assert open_server._http.shared_regions() == [] and region_files() == []


def test_without_room_in_memory_frames_are_sent(
    *, published_server: TritonServer, clip_frames: FrameBatch, wanted: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with DeepfakeClient(published_server.url) as asking:
        assert asking.faces(clip_frames)[0].fake_probability == wanted
    with (
        DeepfakeClient(published_server.url, transport=Transport.SHARED_MEMORY) as asking,
        pytest.raises(TransportUnavailable, match="No space left"),
    ):
        asking.faces(clip_frames)
    assert region_files() == []


def test_memory_has_a_limit(published_server: TritonServer, clip_frames: FrameBatch, wanted: float) -> None:
    class Full(RegionPool):
        def has_room(self, size: int) -> bool:
            return False

    with DeepfakeClient(published_server.url) as asking:
        asking._exchange.transport.pools[published_server.url] = Full()
        assert asking.faces(clip_frames)[0].fake_probability == wanted
        assert regions(published_server) == []
