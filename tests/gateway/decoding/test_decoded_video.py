"""An upload that a child decodes: the very frames, times and errors of `detect` on the same file."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import struct
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from decoder_uploads import descendants, started_pool, upload_from
from paths import SHARED
from photo_files import jpeg_photo
from support import quarters, write_clip

from deepfake_triton.client import AsyncDeepfakeClient, DeepfakeClient, VideoVerdict
from deepfake_triton.errors import DecoderFailed, DeepfakeError, GatewayBusy, VideoTooLarge
from deepfake_triton.gateway.decoding.pool import DecoderPool
from deepfake_triton.gateway.settings import Limits
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch
from deepfake_triton.preprocessing.video.sampling import FrameSelection, Sampling
from deepfake_triton.preprocessing.video.window_source import WindowSource
from deepfake_triton.preprocessing.video.windows import VideoWindows
from deepfake_triton.serving.server import TritonServer

pytestmark = pytest.mark.triton

SELECTIONS = (
    FrameSelection(),
    FrameSelection(num_frames=8, windows=3),
    FrameSelection(num_frames=5, sampling=Sampling.UNIFORM),
)
CASES = sorted(
    path
    for path in (SHARED / "cases").glob("*/*")
    if path.suffix in {".mp4", ".mkv", ".webm", ".ts", ".avi", ".jpg", ".csv"}
)


def outcome(source: WindowSource) -> tuple[list[FrameBatch], object]:
    """All windows, and what is known after the last one, or the error."""
    windows: list[FrameBatch] = []
    try:
        windows += source
    except DeepfakeError as error:
        return windows, f"{type(error).__name__}: {error}"
    return windows, (source.name, source.num_expected, source.duration_seconds, source.fault)


def assert_equal_outcomes(pool: DecoderPool, path: Path, selection: FrameSelection) -> None:
    with path.open("rb") as file:
        named = NamedFile(file, path.name)
        expected, expected_end = outcome(VideoWindows(named, selection, timeout_s=60))  # type: ignore[arg-type]
    got, end = outcome(pool.open_video(upload_from(path), selection, 60))
    assert end == expected_end
    assert len(got) == len(expected)
    for window, other in zip(got, expected, strict=True):
        assert np.array_equal(window.data, other.data)
        assert np.array_equal(window.pts_seconds, other.pts_seconds)
        assert window.end_seconds == other.end_seconds


class NamedFile:
    """An open file under its base name, as an upload has it."""

    def __init__(self, file: object, name: str) -> None:
        self.name = name
        self.read, self.seek, self.tell = file.read, file.seek, file.tell  # type: ignore[attr-defined]


@pytest.mark.parametrize("selection", SELECTIONS, ids=("start", "windows", "uniform"))
def test_frames_are_those_of_detect(pool: DecoderPool, clip_path: Path, selection: FrameSelection) -> None:
    assert_equal_outcomes(pool, clip_path, selection)


def test_photos_and_broken_files_come_out_the_same(
    pool: DecoderPool, tmp_path: Path, clip_path: Path
) -> None:
    clip = clip_path.read_bytes()
    files = {
        "turned.jpg": jpeg_photo(6),
        "cut.mp4": clip[: len(clip) // 2],
        "text.mp4": b"hello" * 100,
        "empty.mp4": b"",
        "<b>.mp4": b"\0" * 64,
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        assert_equal_outcomes(pool, tmp_path / name, FrameSelection(windows=2))


@pytest.mark.parametrize("name", ["x%d.jpg", "%03d.png", "concat:a|b.mp4", "pipe:0", "a|b.mp4", "-"])
def test_a_name_is_never_interpreted(pool: DecoderPool, tmp_path: Path, clip_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(clip_path.read_bytes())
    assert_equal_outcomes(pool, path, FrameSelection(num_frames=2))
    (window,) = pool.open_video(upload_from(clip_path, name), FrameSelection(num_frames=2), 60)
    (expected,) = pool.open_video(upload_from(clip_path), FrameSelection(num_frames=2), 60)
    assert np.array_equal(window.data, expected.data)
    with pytest.raises(DeepfakeError, match=rf"^{re.escape(name)}: "):
        list(pool.open_video(upload_from(Path(__file__), name), FrameSelection(), 60))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.name)
def test_formats_of_all_kinds_come_out_the_same(pool: DecoderPool, path: Path) -> None:
    assert_equal_outcomes(pool, path, FrameSelection(num_frames=8, windows=3))


def test_two_readers_of_one_upload_do_not_disturb_each_other(pool: DecoderPool, clip_path: Path) -> None:
    upload = upload_from(clip_path)
    first, second = (iter(pool.open_video(upload, FrameSelection(windows=4), 60)) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one.data, other.data)
    assert upload.file.tell() == 0


def test_a_long_video_is_refused_before_it_is_decoded(clip_path: Path) -> None:
    with started_pool(Limits(max_duration_seconds=4.0)) as pool:
        video = pool.open_video(upload_from(clip_path), FrameSelection(), 60)
        with pytest.raises(VideoTooLarge, match=rf"^{clip_path.name}: a video of 5 s, at most 4 s are"):
            next(iter(video))


def test_a_video_that_hides_its_length_is_refused_where_it_grows_too_long(tmp_path: Path) -> None:
    images = [quarters(64, 48)] * 60
    path = write_clip(tmp_path / "live.mkv", images, pts_ms=[200 * at for at in range(60)])
    data = path.read_bytes()
    at = data.index(b"\x44\x89\x88")  # the duration of a Matroska file
    path.write_bytes(data[:at] + b"\xec\x89" + data[at + 2 :])  # becomes a void element
    with started_pool(Limits(max_duration_seconds=5.0)) as pool:
        video = pool.open_video(upload_from(path), FrameSelection(num_frames=8, windows=4), 60)
        with pytest.raises(VideoTooLarge, match="at most 5 s"):
            list(video)


@pytest.mark.parametrize("claimed_seconds", [1.0, 100.0])
def test_a_lie_about_the_length_changes_nothing(tmp_path: Path, claimed_seconds: float) -> None:
    images = [quarters(64, 48)] * 60
    path = write_clip(tmp_path / "lie.mkv", images, pts_ms=[200 * at for at in range(60)])
    data = bytearray(path.read_bytes())
    at = data.index(b"\x44\x89\x88") + 3
    data[at : at + 8] = struct.pack(">d", 1000 * claimed_seconds)
    path.write_bytes(data)
    with started_pool(Limits(max_duration_seconds=11.0)) as pool:
        video = pool.open_video(upload_from(path), FrameSelection(num_frames=8), 60)
        with pytest.raises(VideoTooLarge, match=r"a video of 12 s, at most 11 s"):
            list(video)


def test_stopping_wakes_the_reader_and_leaves_nothing(pool: DecoderPool, clip_path: Path) -> None:
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    upload = upload_from(clip_path)
    video = pool.open_video(upload, FrameSelection(windows=6), 60)
    windows = iter(video)
    frames = next(windows).data
    threading.Timer(0.02, video.stop).start()
    began = time.monotonic()
    with pytest.raises(DecoderFailed, match="was stopped"):
        while next(windows) is not None:
            time.sleep(0.05)
    assert time.monotonic() - began < 10
    video.stop()
    video.close()
    assert frames.any(), "frames outlive their child"
    upload.file.close()
    del frames, windows
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_video_stopped_before_it_starts_decodes_nothing(pool: DecoderPool, clip_path: Path) -> None:
    with pool.open_video(upload_from(clip_path), FrameSelection(), 60) as video:
        video.stop()
        with pytest.raises(DecoderFailed, match="was stopped"):
            list(video)


def test_closing_the_pool_ends_all_children(clip_path: Path) -> None:
    before = {process.pid for process in descendants()}
    with started_pool() as pool:
        video = iter(pool.open_video(upload_from(clip_path), FrameSelection(windows=6), 60))
        next(video)
        assert len({process.pid for process in descendants()} - before) == 2, "the zygote and its child"
    assert not {process.pid for process in descendants()} - before
    with pytest.raises(GatewayBusy):
        for _ in video:
            pass
    with pytest.raises(GatewayBusy, match="is closing"):
        list(pool.open_video(upload_from(clip_path), FrameSelection(), 60))


def test_the_verdict_is_that_of_detect(
    pool: DecoderPool, published_server: TritonServer, clip_path: Path
) -> None:
    selection = FrameSelection(windows=3)

    async def judge() -> VideoVerdict:
        async with AsyncDeepfakeClient(published_server.url) as client:
            with pool.open_video(upload_from(clip_path), selection, 60) as video:
                return await client.detect(video)

    with DeepfakeClient(published_server.url) as client:
        expected = client.detect(clip_path, selection)
    verdict = asyncio.run(judge())
    assert verdict.video == clip_path.name and len(verdict.faces) == 1
    same = replace(expected, video=verdict.video, latency_ms=verdict.latency_ms)
    credentials = {"content_credentials": None}
    assert {**verdict.as_dict(), **credentials} == {**same.as_dict(), **credentials}
