"""Frames whose size, shape of pixels or orientation changes: nothing in them is distorted."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from support import write_clip

from deepfake_triton.arrays import Image
from deepfake_triton.preprocessing.video.clip import decode_clip
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch
from deepfake_triton.preprocessing.video.sampling import FrameSelection, Sampling
from deepfake_triton.preprocessing.video.timed_frames import read_frames
from deepfake_triton.preprocessing.video.windows import VideoWindows

pytestmark = pytest.mark.fast

LANDSCAPE, PORTRAIT = (320, 240), (216, 400)


def disc(size: tuple[int, int], stretch: float = 1.0) -> Image:
    """A white disc on gray, half as wide as the shorter side; `stretch` makes it narrower, as pixels that are
    wide are stored."""
    width, height = size
    image = np.full((height, width, 3), 90, np.uint8)
    radius = min(size) // 4
    axes = (round(radius / stretch), radius)
    cv2.ellipse(image, (width // 2, height // 2), axes, 0, 0, 360, (255, 255, 255), cv2.FILLED)
    return image


def aspect(image: Image) -> float:
    """Width over height of the disc."""
    rows, columns = np.nonzero(image[..., 1] > 180)
    return float(np.ptp(columns) + 1) / float(np.ptp(rows) + 1)


def changing(path: Path, *parts: tuple[Image, int, Fraction]) -> Path:
    """A transport stream of images, each for so many frames, with pixels of that shape."""
    content = b""
    for number, (image, frames, pixel_aspect) in enumerate(parts):
        part = path.with_name(f"part{number}.ts")
        write_clip(part, [image] * frames, pixel_aspect=pixel_aspect, codec_options={"crf": "10"})
        content += part.read_bytes()
    path.write_bytes(content)
    return path


def turned(path: Path, first: int = 30, second: int = 30) -> Path:
    """A phone that is turned while it films."""
    one = Fraction(1)
    return changing(path, (disc(LANDSCAPE), first, one), (disc(PORTRAIT), second, one))


def test_no_window_of_a_video_that_changes_its_size_is_distorted(tmp_path: Path) -> None:
    windows = list(VideoWindows(turned(tmp_path / "a.ts"), FrameSelection(10, every_seconds=0.4)))
    assert [window.data.shape[1:3] for window in windows] == [(240, 320)] * 3 + [(400, 216)] * 3
    for window in windows:
        assert [aspect(image) for image in window.data] == pytest.approx([1] * 10, abs=0.05)


@pytest.mark.parametrize(("first", "shape"), [(14, (240, 320)), (6, (400, 216))])
def test_a_change_within_a_clip_loses_no_frame(tmp_path: Path, first: int, shape: tuple[int, int]) -> None:
    """The clip has the shape of most of its frames; the others get bars."""
    clip = decode_clip(turned(tmp_path / "a.ts", first))
    assert len(clip.frames) == 20 and clip.frames.data.shape[1:3] == shape and clip.fault is None
    assert [aspect(image) for image in clip.frames.data] == pytest.approx([1] * 20, abs=0.06)
    bars = [bool((image[:, 0] < 20).all() or (image[0] < 20).all()) for image in clip.frames.data]
    assert bars == [(index < first) is not (first == 14) for index in range(20)]


def test_uniform_frames_keep_their_aspect(tmp_path: Path) -> None:
    frames = decode_clip(turned(tmp_path / "a.ts"), FrameSelection(8, Sampling.UNIFORM)).frames
    assert [aspect(image) for image in frames.data] == pytest.approx([1] * 8, abs=0.06)


def test_a_stream_that_gets_sharper_fills_the_frame(tmp_path: Path) -> None:
    """Calls start small: the same image at twice the size has no bars."""
    one = Fraction(1)
    path = changing(tmp_path / "a.ts", (disc((160, 120)), 15, one), (disc((320, 240)), 30, one))
    frames = decode_clip(path).frames
    assert frames.data.shape[1:3] == (120, 160)
    assert np.abs(frames.data[19].astype(int) - frames.data[0]).mean() < 3


def test_pixels_that_change_their_shape(tmp_path: Path) -> None:
    """Broadcasts go from 4:3 to 16:9 at one stored size."""
    wide = Fraction(4, 3)
    path = changing(
        tmp_path / "a.ts", (disc(LANDSCAPE), 30, Fraction(1)), (disc(LANDSCAPE, stretch=4 / 3), 30, wide)
    )
    windows = list(VideoWindows(path, FrameSelection(10, windows=2)))
    assert [window.data.shape[1:3] for window in windows] == [(240, 320), (240, 427)]
    for window in windows:
        assert [aspect(image) for image in window.data] == pytest.approx([1] * 10, abs=0.06)


def test_frames_to_draw_on_have_one_size_and_their_own_aspect(tmp_path: Path) -> None:
    frames = list(read_frames(turned(tmp_path / "a.ts", 5, 5)))
    assert {frame.pixels.shape for frame in frames} == {(240, 320, 3)}
    assert [frame.own_size for frame in frames] == [LANDSCAPE] * 5 + [PORTRAIT] * 5
    assert [aspect(frame.pixels) for frame in frames] == pytest.approx([1] * 10, abs=0.06)


def test_batches_of_a_changing_stream_are_whole(tmp_path: Path) -> None:
    """Sizes that change with every few frames, as in a call on a bad line."""
    one = Fraction(1)
    sizes = [(160, 120), (320, 240), (216, 400), (160, 120)]
    path = changing(tmp_path / "a.ts", *((disc(size), 5, one) for size in sizes))
    frames: FrameBatch = decode_clip(path).frames
    assert len(frames) == 20 and frames.data.shape[1:3] == (120, 160)
    assert frames.pts_seconds == pytest.approx(np.arange(20) / 25, abs=0.01)
