"""Servers that are killed, stopped and restarted under load, asked by a client as it comes: every request is
answered, once, and as by a server that nothing happened to."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from network import free_port
from serve_command import COMMAND, descendants

from deepfake_triton.client import DeepfakeClient, ModelInfo
from deepfake_triton.export.options import ExportOptions, ParityOptions
from deepfake_triton.export.pipeline import export
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch
from deepfake_triton.serving.server import ServerOptions, TritonServer

pytestmark = pytest.mark.slow

CALLERS = 8
READY_TIMEOUT_S = 120


class Service:
    """`deepfake-triton serve` on one port, as an operator runs it."""

    def __init__(self, repository: Path) -> None:
        self.port = free_port()
        self.command = [
            *(COMMAND, "serve", str(repository)),
            *(f"--grpc-port={self.port}", "--http-port=0", "--metrics-port=0"),
        ]
        self.ready = 0
        self.start()

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._count, args=(self.process,), daemon=True).start()

    def _count(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.ready += line.startswith("ready:")

    def wait_until_ready(self, times: int) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while self.ready < times:
            assert self.process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)

    def children(self, name: str) -> list[int]:
        """Processes of that name below the command."""
        found = []
        for pid in descendants(self.process.pid):
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text().startswith(name):
                    found.append(pid)
        return found

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(60)
        finally:
            self.process.kill()


def kill_a_step(service: Service) -> None:
    os.kill(service.children("triton_python")[0], signal.SIGKILL)


def crash_triton(service: Service) -> None:
    (triton,) = service.children("tritonserver")
    os.kill(triton, signal.SIGSEGV)


def restart(service: Service) -> None:
    service.end()
    service.start()


def pause_all(service: Service) -> None:
    """As when its container is paused."""
    pids = [service.process.pid, *service.children("triton")]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(6)
    for pid in reversed(pids):
        os.kill(pid, signal.SIGCONT)
    time.sleep(3)


@contextmanager
def callers(client: DeepfakeClient, clips: list[FrameBatch]) -> Iterator[list[tuple[int, float]]]:
    """Ask for one clip after another, until the context ends; clip and answer of each request."""
    answers: list[tuple[int, float]] = []
    stop, lock, numbers = threading.Event(), threading.Lock(), iter(range(10**9))
    failures: list[BaseException] = []
    asked = [0]

    def ask() -> None:
        try:
            while not stop.is_set():
                with lock:
                    number = next(numbers) % len(clips)
                    asked[0] += 1
                (face,) = client.faces(clips[number])
                with lock:
                    answers.append((number, face.fake_probability))
        except BaseException as error:  # noqa: BLE001 - a thread's failure is the test's
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        stop.set()
        for thread in threads:
            thread.join(120)
    assert failures == [] and asked[0] == len(answers), "none lost, none doubled"


def test_a_default_client_loses_nothing(published_repository: Path, clip_frames: FrameBatch) -> None:
    clips = [
        FrameBatch(
            np.clip(clip_frames.data[:4].astype(int) + 3 * index - 15, 0, 255).astype(np.uint8),
            clip_frames.pts_seconds[:4],
            1.0,
        )
        for index in range(10)
    ]
    service = Service(published_repository)
    try:
        service.wait_until_ready(1)
        with DeepfakeClient(service.url) as client:
            wanted = [client.faces(clip)[0].fake_probability for clip in clips]
            assert len(set(wanted)) > 5
            drills: list[tuple[Callable[[Service], None], int]] = [
                (kill_a_step, 2),
                (crash_triton, 3),
                (pause_all, 3),
                (restart, 4),
                (crash_triton, 5),
            ]
            with callers(client, clips) as answers:
                for drill, starts in drills:
                    before = len(answers)
                    drill(service)
                    service.wait_until_ready(starts)
                    while len(answers) < before + 3 * CALLERS:
                        assert service.process.poll() is None
                        time.sleep(0.1)
            for number, probability in answers:
                assert probability == pytest.approx(wanted[number], abs=1e-4)
    finally:
        service.end()
    assert service.process.returncode == 0


def test_a_server_that_comes_back_with_another_export_is_named_as_it_is(
    *,
    published_repository: Path,
    default_repository: Path,
    clip_path: Path,
    brief_clip: Path,
    tmp_path: Path,
) -> None:
    """The same address and version number with other weights, then a second version; no call failed."""
    other = tmp_path / "other"
    shutil.copytree(default_repository, other)
    port = free_port()
    with DeepfakeClient(f"127.0.0.1:{port}") as asking:
        seen: list[ModelInfo] = []
        for repository in (published_repository, other, other):
            if len(seen) == 2:
                export(ExportOptions(other, parity=ParityOptions(brief_clip)))
            options = ServerOptions(repository, grpc_port=port, http_port=0, metrics_port=0)
            with TritonServer(options):
                seen.append(asking.detect(clip_path).model)
    assert [model.weights for model in seen] == ["custom", "default", "default"]
    assert [model.version for model in seen] == ["1", "1", "2"]
    assert seen[0].sha256 != seen[1].sha256 == seen[2].sha256
