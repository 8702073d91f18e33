"""What the gateway itself lacks is told as its own failure, never as one of the file, and leaves nothing."""

from __future__ import annotations

import asyncio
import os
import platform
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from decoder_uploads import descendants, started_pool, upload_from
from support import settled

from deepfake_triton.errors import GatewayBusy
from deepfake_triton.gateway.decoding import decoder_process
from deepfake_triton.gateway.decoding.pool import DecoderPool
from deepfake_triton.gateway.decoding.zygote_process import ZygoteProcess
from deepfake_triton.preprocessing.video.sampling import FrameSelection

pytestmark = pytest.mark.triton


@contextmanager
def no_more_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_descriptors_it_is_busy(
    pool: DecoderPool, clip_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    upload = upload_from(clip_path)
    with no_more_descriptors(), pytest.raises(GatewayBusy) as caught:
        list(pool.open_video(upload, FrameSelection(), 60))
    assert str(caught.value) == "gateway: it can start no decoder at the moment; try again later"
    assert "Too many open files" in caplog.text
    video = iter(pool.open_video(upload, FrameSelection(windows=3), 60))
    next(video)
    with no_more_descriptors(), pytest.raises(GatewayBusy):
        list(video)
    assert len(list(pool.open_video(upload, FrameSelection(windows=2), 60))) == 2


def test_a_preview_that_lacks_descriptors_is_none(pool: DecoderPool, clip_path: Path) -> None:
    async def preview() -> object:
        with no_more_descriptors():
            return await pool.make_preview(upload)

    upload = upload_from(clip_path)
    assert asyncio.run(preview()) is None


def test_a_zygote_that_dies_meanwhile_is_not_the_file_s_fault(clip_path: Path) -> None:
    before = {process.pid for process in descendants()}
    with started_pool() as pool:
        (zygote,) = {process.pid for process in descendants()} - before
        video = iter(pool.open_video(upload_from(clip_path), FrameSelection(windows=6), 60))
        next(video)
        os.kill(zygote, signal.SIGKILL)
        with pytest.raises(GatewayBusy):
            list(video)
        assert list(pool.open_video(upload_from(clip_path), FrameSelection(), 60))


def test_a_zygote_that_hangs_is_replaced(clip_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {process.pid for process in descendants()}
    with started_pool() as pool:
        (zygote,) = {process.pid for process in descendants()} - before
        os.kill(zygote, signal.SIGSTOP)
        monkeypatch.setattr(decoder_process, "_START_TIMEOUT_S", 0.2)
        with pytest.raises(GatewayBusy):
            list(pool.open_video(upload_from(clip_path), FrameSelection(), 60))
        monkeypatch.undo()
        assert list(pool.open_video(upload_from(clip_path), FrameSelection(), 60))
        assert not Path(f"/proc/{zygote}").exists()


def test_a_zygote_that_does_not_tell_an_end_is_replaced(
    clip_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {process.pid for process in descendants()}
    monkeypatch.setattr(decoder_process, "_END_TIMEOUT_S", 0.2)
    with started_pool() as pool:
        (zygote,) = {process.pid for process in descendants()} - before
        video = iter(pool.open_video(upload_from(clip_path), FrameSelection(windows=6), 60))
        next(video)
        (child,) = {process.pid for process in descendants()} - before - {zygote}
        os.kill(zygote, signal.SIGSTOP)
        os.kill(child, signal.SIGKILL)
        with pytest.raises(GatewayBusy):
            list(video)
        assert list(pool.open_video(upload_from(clip_path), FrameSelection(), 60))


def test_a_zygote_that_cannot_be_started_is_not_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(GatewayBusy):
        ZygoteProcess().start()
    monkeypatch.setattr("sys.executable", "/nowhere")
    with pytest.raises(GatewayBusy):
        ZygoteProcess().start()


def test_a_preview_canceled_while_its_child_starts_leaves_no_child(
    pool: DecoderPool, heavy_video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway gives the child up before it knows its number: the zygote ends it."""
    spawn, asked = ZygoteProcess.spawn, threading.Event()

    def spawn_late(*arguments: Any) -> Any:
        asked.set()
        time.sleep(0.1)
        return spawn(*arguments)

    monkeypatch.setattr(ZygoteProcess, "spawn", spawn_late)
    before = settled(lambda: len(descendants()), quiet_s=0.2)

    async def cancel() -> None:
        task = asyncio.create_task(pool.make_preview(upload_from(heavy_video)))
        await asyncio.to_thread(asked.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    time.sleep(0.15)
    deadline = time.monotonic() + 0.3
    while len(descendants()) > before:
        assert time.monotonic() < deadline, "the child goes on"
        time.sleep(0.01)


WITHOUT_FILTERS = """
import sys
from pathlib import Path
from decoder_uploads import started_pool, upload_from
from unfiltered_kernel import refuse_filters
from deepfake_triton.preprocessing.video.sampling import FrameSelection
assert refuse_filters()
with started_pool() as pool:
    print(len(list(pool.open_video(upload_from(Path(sys.argv[1])), FrameSelection(windows=2), 60))))
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="system calls are filtered on x86-64 only")
def test_a_kernel_without_filters_is_told_once(clip_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_FILTERS, str(clip_path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        check=True,
        text=True,
    )
    assert ended.stdout == "2\n"
    assert ended.stderr.count("takes no filter of system calls") == 1
