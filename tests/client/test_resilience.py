"""Faults that are really injected: servers killed, frozen and restarted under load; encryption; asyncio."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from network import TcpProxy, certificates_in, free_port

from deepfake_triton.client import (
    AsyncDeepfakeClient,
    ConnectionOptions,
    DeepfakeClient,
    RetryPolicy,
    Transport,
)
from deepfake_triton.errors import (
    InputError,
    PermissionDenied,
    ServerUnreachable,
    VideoNotFound,
)
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch
from deepfake_triton.serving.server import ServerOptions, TritonServer

pytestmark = pytest.mark.triton

CALLERS, VIDEOS = 8, 24


def options(repository: Path, **changes: object) -> ServerOptions:
    return ServerOptions(repository, **{"grpc_port": 0, "http_port": 0, "metrics_port": 0, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def clips(clip_frames: FrameBatch) -> list[FrameBatch]:
    """Short ones that are all different, so that an answer cannot be taken for another's."""
    return [
        FrameBatch(
            np.clip(clip_frames.data[:4].astype(int) + 2 * index - VIDEOS, 0, 255).astype(np.uint8),
            clip_frames.pts_seconds[:4],
            clip_frames.end_seconds,
        )
        for index in range(VIDEOS)
    ]


def probabilities(client: DeepfakeClient, clips: list[FrameBatch]) -> list[float]:
    with ThreadPoolExecutor(CALLERS) as pool:
        return [faces[0].fake_probability for faces in pool.map(client.faces, clips)]


def test_a_server_killed_for_good_costs_no_answer(
    published_repository: Path, client: DeepfakeClient, clips: list[FrameBatch]
) -> None:
    wanted = probabilities(client, clips)
    assert len(set(wanted)) > VIDEOS / 2
    with (
        TritonServer(options(published_repository)) as first,
        TritonServer(options(published_repository)) as second,
        DeepfakeClient([first.url, second.url], timeout_s=60) as asking,
    ):
        answers: list[float] = []
        with ThreadPoolExecutor(CALLERS) as pool:
            for faces in pool.map(asking.faces, clips):
                answers.append(faces[0].fake_probability)
                if len(answers) == VIDEOS // 4:
                    first.kill()
        assert answers == pytest.approx(wanted, abs=1e-4)
        assert probabilities(asking, clips[:8]) == pytest.approx(wanted[:8], abs=1e-4)
        second.kill()
        before = time.monotonic()
        with pytest.raises(ServerUnreachable):
            asking.faces(clips[0], timeout_s=5)
        assert 3 < time.monotonic() - before < 15, "they might come back until the deadline"


def test_a_server_that_comes_back_is_waited_for(
    published_repository: Path, clips: list[FrameBatch], client: DeepfakeClient
) -> None:
    (wanted,) = probabilities(client, clips[:1])
    port = free_port()
    retry = RetryPolicy(attempts=100, first_delay_s=0.2, longest_delay_s=0.5, burst=1000)
    with (
        DeepfakeClient(f"127.0.0.1:{port}", timeout_s=60, retry=retry) as asking,
        ThreadPoolExecutor(1) as pool,
    ):
        early = pool.submit(asking.faces, clips[0])
        time.sleep(0.5)
        assert not early.done()
        with TritonServer(options(published_repository, grpc_port=port)):
            assert early.result(60)[0].fake_probability == pytest.approx(wanted, abs=1e-4)


def test_a_frozen_server_is_left_for_the_other(
    published_repository: Path, published_server: TritonServer, clips: list[FrameBatch]
) -> None:
    with (
        TritonServer(options(published_repository)) as frozen,
        DeepfakeClient(f"{frozen.url},{published_server.url}", timeout_s=16) as asking,
    ):
        os.kill(frozen.process.pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            assert asking.faces(clips[0]) and asking.faces(clips[0])
            assert time.monotonic() - started < 15, "an attempt has half of the time, with two servers"
        finally:
            os.kill(frozen.process.pid, signal.SIGCONT)


def children(parent: int, name: str) -> list[int]:
    """Processes of that name below `parent`, at any depth."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            head, _, tail = path.read_text().rpartition(")")
        except OSError:
            continue
        if int(tail.split()[1]) == parent:
            child = int(path.parent.name)
            found += [child] * (name in head) + children(child, name)
    return found


def wait_until_reached(client: DeepfakeClient, timeout_s: float = 120) -> None:
    """Until the server has started: nobody but a test asks one that was never there."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            client.model()
        except ServerUnreachable:
            assert time.monotonic() < deadline
        else:
            return


@pytest.mark.parametrize("after_bytes", [50, 100_000])
def test_a_connection_that_is_reset_costs_no_answer(
    *, published_server: TritonServer, client: DeepfakeClient, clips: list[FrameBatch], after_bytes: int
) -> None:
    wanted = probabilities(client, clips[:8])
    with (
        TcpProxy(published_server.url, resets=3, after_bytes=after_bytes) as proxy,
        DeepfakeClient(
            proxy.url,
            timeout_s=60,
            transport=Transport.GRPC,
            retry=RetryPolicy(attempts=10, burst=1000),  # eight callers lose one connection, three times
        ) as asking,
    ):
        assert probabilities(asking, clips[:8]) == pytest.approx(wanted, abs=1e-4)
        assert proxy.resets == 0


def test_a_python_step_that_is_killed_comes_back(
    published_repository: Path, client: DeepfakeClient, clips: list[FrameBatch]
) -> None:
    """Triton 2.51 would hang; `serve` starts it again, and callers wait for that."""
    wanted = client.faces(clips[0])
    port = free_port()
    command = [sys.executable, "-m", "deepfake_triton.cli", "serve", str(published_repository)]
    ports = [f"--grpc-port={port}", "--http-port=0", "--metrics-port=0"]
    server = subprocess.Popen([*command, *ports], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        with DeepfakeClient(f"127.0.0.1:{port}", timeout_s=90) as asking:
            wait_until_reached(asking)
            assert asking.faces(clips[0]) == wanted
            for stub in children(server.pid, "triton_python"):
                os.kill(stub, signal.SIGKILL)
            assert asking.faces(clips[0]) == wanted
    finally:
        server.terminate()
        said, warned = server.communicate(timeout=60)
    assert said.count("ready:") == 2 and said.endswith("stopped\n") and server.returncode == 0
    assert "the process of a Python model ended" in warned


def test_asyncio_gives_the_same_verdicts(
    *, published_server: TritonServer, client: DeepfakeClient, clips: list[FrameBatch], clip_path: Path
) -> None:
    wanted = probabilities(client, clips[:12])

    async def ask() -> None:
        async with AsyncDeepfakeClient(published_server.url, max_in_flight=4) as asking:
            answers = await asyncio.gather(*(asking.faces(clip) for clip in clips[:12]))
            assert [faces[0].fake_probability for faces in answers] == pytest.approx(wanted, abs=1e-4)
            verdict, same = await asyncio.gather(
                asking.detect(clip_path), asyncio.to_thread(client.detect, clip_path)
            )
            assert verdict.fake_probability == pytest.approx(same.fake_probability, abs=1e-4)
            assert verdict.model == same.model == await asking.model() == asking.known_model
            with pytest.raises(VideoNotFound):
                await asking.detect("nowhere.mp4")
            doomed = asyncio.create_task(asking.faces(clips[0]))
            await asyncio.sleep(0.01)
            doomed.cancel()
            with pytest.raises(asyncio.CancelledError):
                await doomed
            assert await asking.faces(clips[0])
        async with AsyncDeepfakeClient(f"127.0.0.1:{free_port()}", timeout_s=5) as nobody:
            with pytest.raises(ServerUnreachable):
                await nobody.faces(clips[0])

    asyncio.run(ask())


def test_open_files_and_frames_are_videos_too(
    *, client: DeepfakeClient, clip_path: Path, clip_frames: FrameBatch, tmp_path: Path
) -> None:
    by_path = client.detect(clip_path)
    with clip_path.open("rb") as file:
        by_file = client.detect(file)
        assert not file.closed
    by_frames = client.detect(clip_frames)
    assert by_path.faces == by_file.faces == by_frames.faces
    assert (by_file.video, by_frames.video) == (str(clip_path), "(frames)")
    reading, writing = os.pipe()
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe, pytest.raises(InputError, match="file object that can seek"):
        client.detect(pipe)
    with clip_path.open(errors="replace") as text, pytest.raises(InputError, match="mode 'rb'"):
        client.detect(text)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificates_in(tmp_path_factory.mktemp("certificates"))


def test_mutual_tls(published_repository: Path, clips: list[FrameBatch], certificates: Path) -> None:
    server_files = {"tls_certificate": "server.pem", "tls_key": "server.key", "tls_client_ca": "ca.pem"}
    secure = options(published_repository, **{key: certificates / name for key, name in server_files.items()})
    known = ConnectionOptions(
        root_certificates=certificates / "ca.pem",
        private_key=certificates / "client.key",
        certificate_chain=certificates / "client.pem",
        token="a word",
    )
    with TritonServer(secure) as server:
        with DeepfakeClient(server.url, connection=known) as asking:
            assert asking.faces(clips[0])
        retry = RetryPolicy(attempts=1)
        for stranger in (ConnectionOptions(), ConnectionOptions(root_certificates=certificates / "ca.pem")):
            with (
                DeepfakeClient(server.url, timeout_s=10, connection=stranger, retry=retry) as asking,
                pytest.raises(ServerUnreachable),
            ):
                asking.faces(clips[0])
    with pytest.raises(PermissionDenied, match="no such file"):
        DeepfakeClient(connection=ConnectionOptions(root_certificates=certificates / "none.pem"))
    with pytest.raises(PermissionDenied, match="belong together"):
        DeepfakeClient(connection=ConnectionOptions(private_key=certificates / "client.key"))


def test_clients_leave_no_threads(published_server: TritonServer, clips: list[FrameBatch]) -> None:
    before = threading.active_count()
    for _ in range(3):
        with DeepfakeClient(published_server.url) as asking:
            assert asking.faces(clips[0])
    assert threading.active_count() <= before + 1
