"""Windows of a video: which frames they hold, whatever way leads there."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import quarters, write_clip

from deepfake_triton.arrays import Image
from deepfake_triton.errors import DeadlineExceeded, InvalidFrames
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch
from deepfake_triton.preprocessing.video.sampling import FrameSelection, Sampling, window_starts
from deepfake_triton.preprocessing.video.windows import VideoWindows

pytestmark = pytest.mark.fast

FRAMES = 250


def numbered(count: int) -> list[Image]:
    """Each frame's number in eight bits, as columns that survive compression."""
    bits = [[number >> bit & 1 for bit in range(8)] for number in range(count)]
    return [
        np.repeat(np.array(row, np.uint8) * 200 + 20, 16)[None, :, None].repeat(96, 0).repeat(3, 2)
        for row in bits
    ]


def numbers(window: FrameBatch) -> list[int]:
    centers = window.data[:, 48, 8::16, 0] > 120
    return [int(sum(1 << bit for bit in np.flatnonzero(row))) for row in centers]


@pytest.fixture(scope="module", params=["mp4", "mkv", "ts", "h264", "webm", "sparse.mp4"])
def video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds, 25 frames each; key frames every 10 frames, in `sparse` only at the start."""
    path = tmp_path_factory.mktemp("windows") / f"a.{request.param}"
    if request.param == "webm":
        return write_clip(path, numbered(FRAMES), codec="libvpx", codec_options={"g": "10"})
    interval = "1000" if request.param.startswith("sparse") else "10"
    options = {"g": interval, "crf": "10"}
    return write_clip(path, numbered(FRAMES), codec_options=options)


@pytest.mark.parametrize(
    ("selection", "firsts"),
    [
        (FrameSelection(20, windows=1), [0]),
        (FrameSelection(10, windows=4), [0, 80, 160, 240]),
        (FrameSelection(5, every_seconds=2), [0, 50, 100, 150, 200]),
        (FrameSelection(50, windows=50), [0, 50, 100, 150, 200]),
        (FrameSelection(50, every_seconds=0.1), [0, 50, 100, 150, 200]),
    ],
)
def test_windows_hold_the_frames_that_were_asked_for(
    video: Path, selection: FrameSelection, firsts: list[int]
) -> None:
    windows = VideoWindows(video, selection)
    found = [numbers(window) for window in windows]
    assert found == [list(range(first, first + selection.num_frames)) for first in firsts]
    assert windows.fault is None and windows.duration_seconds == pytest.approx(10, abs=0.1)


def test_times_are_those_of_the_video(video: Path) -> None:
    for window in VideoWindows(video, FrameSelection(10, windows=4)):
        expected = np.array(numbers(window)) / 25
        assert window.pts_seconds == pytest.approx(expected, abs=0.002)
        assert window.end_seconds == pytest.approx(expected[-1] + 0.04, abs=0.002)


def test_a_rest_of_half_a_window_is_judged_and_less_is_not(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", numbered(50), codec_options={"crf": "10"})
    assert [len(window) for window in VideoWindows(path, FrameSelection(20, windows=9))] == [20, 20, 10]
    assert [len(window) for window in VideoWindows(path, FrameSelection(22, windows=9))] == [22, 22]
    assert [len(window) for window in VideoWindows(path, FrameSelection(64, windows=9))] == [50]


def test_a_photo_is_one_window(tmp_path: Path) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "a.png"), quarters())
    assert [len(window) for window in VideoWindows(tmp_path / "a.png", FrameSelection(20, windows=5))] == [1]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_truncated_file_is_reported(tmp_path: Path, suffix: str) -> None:
    options = {"movflags": "faststart"} if suffix == "mp4" else {}
    path = write_clip(
        tmp_path / f"a.{suffix}", numbered(FRAMES), codec_options={"g": "10"}, container_options=options
    )
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    windows = VideoWindows(path, FrameSelection(10, windows=4))
    found = [numbers(window)[0] for window in windows]
    assert found and set(found) <= {0, 80, 160, 240} and 240 not in found
    assert windows.fault


def test_time_is_limited(video: Path) -> None:
    with pytest.raises(DeadlineExceeded):
        list(VideoWindows(video, FrameSelection(20, windows=5), timeout_s=0.0))


@pytest.mark.parametrize(
    "arguments",
    [
        {"windows": 0},
        {"every_seconds": 0.0},
        {"every_seconds": float("nan")},
        {"windows": 2, "every_seconds": 1.0},
        {"windows": 2, "sampling": Sampling.UNIFORM},
    ],
)
def test_what_makes_no_sense_is_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(InvalidFrames):
        FrameSelection(20, **arguments)  # type: ignore[arg-type]


@given(
    frames=st.integers(1, 64),
    count=st.integers(1, 400),
    duration=st.floats(0.01, 4000),
    frame_seconds=st.floats(0.005, 0.5),
)
def test_starts_rise_and_leave_room(
    *, frames: int, count: int, duration: float, frame_seconds: float
) -> None:
    starts = window_starts(FrameSelection(frames, windows=count), duration, frame_seconds)
    length = frames * frame_seconds
    assert 1 <= len(starts) <= count and starts[0] == 0
    assert all(b - a >= length * 0.999 for a, b in itertools.pairwise(starts))
    assert len(starts) == 1 or starts[-1] < duration
    if count > 1 and count * length < duration:
        assert len(starts) == count and starts[-1] + length == pytest.approx(duration)
