"""Files whose clock starts anew, starts late, stands still, or says nothing of how long they are."""

from __future__ import annotations

import itertools
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from support import write_clip

from deepfake_triton.arrays import Image
from deepfake_triton.preprocessing.media.media_file import open_media
from deepfake_triton.preprocessing.video.clip import decode_clip, measure_extent
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch
from deepfake_triton.preprocessing.video.sampling import FrameSelection, Sampling
from deepfake_triton.preprocessing.video.windows import VideoWindows

pytestmark = pytest.mark.fast

PART = 75
_FINE = {"crf": "10", "g": "25"}


def numbered(first: int, count: int) -> list[Image]:
    """Each frame's number in eight bits, as columns that survive compression."""
    rows = [[number >> bit & 1 for bit in range(8)] for number in range(first, first + count)]
    return [
        np.repeat(np.array(row, np.uint8) * 200 + 20, 16)[None, :, None].repeat(96, 0).repeat(3, 2)
        for row in rows
    ]


def numbers(frames: FrameBatch) -> list[int]:
    centers = frames.data[:, 48, 8::16, 0] > 120
    return [int(sum(1 << bit for bit in np.flatnonzero(row))) for row in centers]


def concatenate_parts(path: Path, parts: int, sound_seconds: float = 0) -> Path:
    """Whole files one after another, each with a clock from 0: a `stripped` FLV without the later headers,
    `numbers.ts` with streams of other numbers in each part."""
    suffix = path.suffix
    codec = {".mpg": "mpeg2video", ".avi": "mpeg4", ".webm": "libvpx"}.get(suffix, "libx264")
    options = _FINE if codec == "libx264" else {"b": "4000000", "g": "12"}
    content = b""
    for part in range(parts):
        single = path.with_name(f"part{part}{suffix}")
        images = numbered(PART * part, PART)
        if suffix == ".mpg":
            write_mpeg_program(single, images, codec, options=options)
        else:
            streams = {"mpegts_start_pid": str(256 + 16 * part)} if path.stem == "numbers" else {}
            write_clip(
                single,
                images,
                codec=codec,
                codec_options=options,
                container_options=streams,
                sound_seconds=sound_seconds,
            )
        data = single.read_bytes()
        content += data[13:] if part and path.stem == "stripped" else data
    path.write_bytes(content)
    return path


def write_mpeg_program(path: Path, images: list[Image], codec: str, *, options: dict[str, str]) -> None:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.fixture(
    scope="module",
    params=[
        *("two.ts", "three.ts", "sound.ts", "numbers.ts", "two.mpg", "stripped.flv", "three.flv"),
        *("three.mp4", "three.mkv", "two.webm", "two.avi"),
    ],
)
def film(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """Concatenated parts of three seconds each, and how many frames they have together."""
    path = tmp_path_factory.mktemp("concatenated") / request.param
    parts = 3 if path.stem in ("three", "numbers") else 2
    return concatenate_parts(path, parts, sound_seconds=3 if path.stem == "sound" else 0), PART * parts


def test_windows_cover_all_parts_of_a_concatenated_file(film: tuple[Path, int]) -> None:
    path, total = film
    windows = VideoWindows(path, FrameSelection(10, windows=6))
    found = list(windows)
    assert windows.fault is None and windows.duration_seconds == pytest.approx(total / 25, abs=0.1)
    assert [numbers(window) for window in found] == [
        list(range(numbers(window)[0], numbers(window)[0] + 10)) for window in found
    ]
    firsts = [numbers(window)[0] for window in found]
    assert firsts == pytest.approx([(total - 10) * index / 5 for index in range(6)], abs=1.1)
    for window in found:
        assert window.pts_seconds == pytest.approx(np.array(numbers(window)) / 25, abs=0.05)


def test_uniform_frames_of_a_concatenated_file_rise(film: tuple[Path, int]) -> None:
    path, total = film
    clip = decode_clip(path, FrameSelection(5, Sampling.UNIFORM))
    expected = [(2 * part + 1) * total // 10 for part in range(5)]
    assert numbers(clip.frames) == expected and clip.fault is None
    assert clip.frames.pts_seconds == pytest.approx(np.array(expected) / 25, abs=0.05)


def test_the_duration_of_a_concatenated_file_is_that_of_all_parts(film: tuple[Path, int]) -> None:
    path, total = film
    assert decode_clip(path).duration_seconds == pytest.approx(total / 25, abs=0.1)


def test_a_clip_across_the_joint_goes_on(tmp_path: Path) -> None:
    path = concatenate_parts(tmp_path / "a.ts", 2)
    windows = list(VideoWindows(path, FrameSelection(50, every_seconds=0.1)))
    assert numbers(windows[1]) == list(range(50, 100))
    assert windows[1].pts_seconds == pytest.approx(np.arange(50, 100) / 25, abs=0.01)


@pytest.mark.parametrize(
    "x264",
    ["bframes=3:b-adapt=0", "bframes=8:b-adapt=0:b-pyramid=none", "bframes=16:b-adapt=0:ref=16", "bframes=0"],
)
def test_a_live_matroska_that_was_concatenated(tmp_path: Path, x264: str) -> None:
    """Of unknown length, so that the parts are one stream whose decoding times FFmpeg makes up."""
    part = write_clip(
        tmp_path / "part.mkv",
        numbered(0, 100),
        codec_options={"x264-params": x264, "crf": "10"},
        container_options={"live": "1"},
    )
    path = tmp_path / "live.mkv"
    path.write_bytes(2 * part.read_bytes())
    for selection in (FrameSelection(), FrameSelection(10, Sampling.UNIFORM)):
        assert decode_clip(path, selection).duration_seconds == pytest.approx(8, abs=0.05)
    windows = VideoWindows(path, FrameSelection(10, windows=6))
    firsts = [numbers(window)[0] for window in windows]
    assert firsts == pytest.approx([0, 38, 76, 14, 52, 90], abs=1.1)
    assert windows.duration_seconds == pytest.approx(8, abs=0.05)


@pytest.mark.parametrize(("b_frames", "bits"), [("2", "400000"), ("0", "300000"), ("2", "4000000")])
def test_a_program_stream_with_few_timestamps(tmp_path: Path, b_frames: str, bits: str) -> None:
    """Several frames share a block and its timestamp; FFmpeg guesses behind a seek, and at the end."""
    path = tmp_path / "a.mpg"
    options = {"bf": b_frames, "g": "12", "b": bits, "maxrate": bits}
    write_mpeg_program(path, numbered(0, 250), "mpeg2video", options=options)
    windows = VideoWindows(path, FrameSelection(10, windows=6))
    found = list(windows)
    assert [numbers(window)[0] for window in found] == pytest.approx([0, 48, 96, 144, 192, 240], abs=1.1)
    for window in found:
        assert window.pts_seconds == pytest.approx(np.array(numbers(window)) / 25, abs=0.02)
    assert windows.duration_seconds == pytest.approx(10, abs=0.05) and windows.fault is None


def test_a_counter_of_33_bits_that_wraps(tmp_path: Path) -> None:
    """MPEG-TS counts to 26.5 hours; here it runs over after a second and a half."""
    start_ms = (1 << 33) // 90 - 2900  # a muxer begins 1.4 s later
    path = write_clip(
        tmp_path / "a.ts",
        numbered(0, PART),
        pts_ms=[start_ms + 40 * index for index in range(PART)],
        codec_options=_FINE,
    )
    windows = VideoWindows(path, FrameSelection(10, windows=4))
    assert [numbers(window)[0] for window in windows] == pytest.approx([0, 22, 43, 65], abs=1.1)
    assert windows.duration_seconds == pytest.approx(3, abs=0.1) and windows.fault is None


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "flv"])
def test_images_that_start_later_than_the_sound_lose_no_window(tmp_path: Path, suffix: str) -> None:
    late_ms = [2000 + 40 * index for index in range(PART)]
    path = write_clip(
        tmp_path / f"late.{suffix}", numbered(0, PART), pts_ms=late_ms, codec_options=_FINE, sound_seconds=6
    )
    windows = VideoWindows(path, FrameSelection(10, windows=4))
    firsts = [numbers(window)[0] for window in windows]
    assert firsts == pytest.approx([0, 22, 43, 65], abs=1.1) and windows.fault is None
    clip = decode_clip(path)
    for seconds in (windows.duration_seconds, clip.duration_seconds):
        assert seconds == pytest.approx(5, abs=0.1)
    assert clip.frames.pts_seconds[0] == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("live.mkv", {"live": "1"}),
        ("live.webm", {"live": "1"}),
        ("live.flv", {"flvflags": "no_duration_filesize"}),
        ("live.mp4", {"movflags": "frag_keyframe+empty_moov+skip_trailer"}),
        ("raw.h264", {}),
        ("a.ts", {}),
    ],
)
@pytest.mark.parametrize(
    ("selection", "frames"),
    [(FrameSelection(), 20), (FrameSelection(5, Sampling.UNIFORM), 5), (FrameSelection(5, windows=3), 15)],
)
def test_a_file_without_a_duration_has_the_length_of_its_images(
    *, tmp_path: Path, name: str, options: dict[str, str], selection: FrameSelection, frames: int
) -> None:
    codec = "libvpx" if name.endswith("webm") else "libx264"
    path = write_clip(tmp_path / name, numbered(0, PART), codec=codec, container_options=options)
    windows = VideoWindows(path, selection)
    assert sum(len(window) for window in windows) == frames
    assert windows.duration_seconds == pytest.approx(3, abs=0.05) and windows.fault is None


def test_equal_and_falling_timestamps_rise(tmp_path: Path) -> None:
    """Matroska keeps timestamps as they are: each block's time is rewritten in place."""
    path = write_clip(tmp_path / "a.mkv", numbered(0, 30), codec="mpeg4", codec_options={"b": "4000000"})
    wrong = [0, 40, 40, 40, 30, 200, 200, 280, *range(320, 1200, 40)]
    content = path.read_bytes()
    for index in range(29, 0, -1):  # from the end on, so that no new time is taken for an old one
        content = retimed(content, 40 * index, wrong[index])
    path.write_bytes(content)
    assert [packet.pts for packet in packets_of(path)][:8] == wrong[:8]
    for selection in (FrameSelection(), FrameSelection(10, Sampling.UNIFORM)):
        frames = decode_clip(path, selection).frames
        assert (np.diff(frames.pts_seconds) > 0).all() and len(frames) == selection.num_frames
    found = list(VideoWindows(path, FrameSelection(10, windows=3)))
    assert [numbers(window)[0] for window in found] == [0, 10, 20]
    assert all(one.end_seconds <= two.pts_seconds[0] + 0.05 for one, two in itertools.pairwise(found))


def packets_of(path: Path) -> list[Any]:
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(video=0) if packet.size]


def retimed(content: bytes, old_ms: int, new_ms: int) -> bytes:
    """With the time of one SimpleBlock of track 1 changed (Matroska: 0x81, signed 16 bit, flags)."""
    for flags in (b"\x80", b"\x00"):
        at = content.find(b"\x81" + old_ms.to_bytes(2, "big") + flags)
        if at >= 0 and content[at - 5 : at].count(b"\xa3"):
            return content[: at + 1] + new_ms.to_bytes(2, "big") + content[at + 3 :]
    raise AssertionError(f"no block at {old_ms} ms")


def test_a_length_is_not_worth_a_verdict(tmp_path: Path) -> None:
    """Where reading through the file takes too long, what FFmpeg guesses of its length has to do."""
    path = concatenate_parts(tmp_path / "a.ts", 2)
    with open_media(path) as media:
        assert measure_extent(media, time.monotonic()) is None
        whole = measure_extent(media, None)
    assert whole is not None and whole.end_seconds == pytest.approx(2 * PART / 25, abs=0.01)
    assert whole.num_frames == 2 * PART and not whole.is_continuous
