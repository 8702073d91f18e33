"""Files whose timestamps count frames in decoding order, as AVI, ASF, and careless muxers write them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from deepfake_triton.arrays import Image
from deepfake_triton.preprocessing.decoding.reordering import TimestampReorderer
from deepfake_triton.preprocessing.video.clip import decode_clip
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch
from deepfake_triton.preprocessing.video.sampling import FrameSelection, Sampling
from deepfake_triton.preprocessing.video.windows import VideoWindows

pytestmark = pytest.mark.fast

TOTAL = 200
FRAME = 0.04


def numbered(count: int = TOTAL) -> list[Image]:
    """Each frame's number in eight bits, as columns that survive compression."""
    rows = [np.unpackbits(np.uint8(number)) * 200 + 20 for number in range(count)]
    return [np.repeat(row.astype(np.uint8), 16)[None, :, None].repeat(96, 0).repeat(3, 2) for row in rows]


def written(path: Path, count: int = TOTAL, codec: str = "libx264", **options: str) -> Path:
    """A film of numbered frames on a clock that ticks once a frame, as AVIs are written."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25, options={"g": "50", **options})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for index, image in enumerate(numbered(count)):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def numbers(frames: FrameBatch) -> list[int]:
    return [int(number) for number in np.packbits(frames.data[:, 48, 8::16, 0] > 120, axis=1)[:, 0]]


def without_composition_times(content: bytes) -> bytes:
    """An FLV whose video tags say 0 for how much later than decoded they are displayed (Adobe FLV, E.4.3)."""
    changed, position = bytearray(content), 13
    while position + 11 < len(changed):
        if changed[position] == 9:
            changed[position + 13 : position + 16] = bytes(3)
        position += 15 + int.from_bytes(changed[position + 1 : position + 4], "big")
    return bytes(changed)


def without_offsets(content: bytes) -> bytes:
    """A movie without composition offsets and the edit list that makes up for them."""
    assert b"ctts" in content
    return content.replace(b"ctts", b"free").replace(b"edts", b"free")


@pytest.fixture(
    scope="module",
    params=[
        ("plain.avi", "libx264", {}, bytes),
        ("deep.avi", "libx264", {"x264-params": "bframes=16:b-adapt=0:ref=16:b-pyramid=strict"}, bytes),
        ("open.avi", "libx264", {"x264-params": "open-gop=1:keyint=25"}, bytes),
        ("no-delay.avi", "libx264", {"tune": "zerolatency"}, bytes),
        ("xvid.avi", "mpeg4", {"bf": "2", "b": "4000000"}, bytes),
        ("plain.asf", "libx264", {}, bytes),
        ("plain.flv", "libx264", {}, without_composition_times),
        ("plain.mov", "libx264", {}, without_offsets),
        ("whole.mkv", "libx264", {}, bytes),
    ],
    ids=lambda param: str(param[0]),
)
def film(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    name, codec, options, change = request.param
    path = written(tmp_path_factory.mktemp("film") / name, codec=codec, **options)
    path.write_bytes(change(path.read_bytes()))
    return path


@pytest.mark.parametrize("selection", [FrameSelection(64), FrameSelection(20, Sampling.UNIFORM)])
def test_chosen_frames_have_their_times(film: Path, selection: FrameSelection) -> None:
    clip = decode_clip(film, selection)
    assert clip.frames.pts_seconds == pytest.approx(np.array(numbers(clip.frames)) * FRAME, abs=FRAME / 2)
    assert len(clip.frames) == selection.num_frames and clip.fault is None
    assert clip.duration_seconds == pytest.approx(TOTAL * FRAME, abs=2.1 * FRAME)


def test_windows_have_their_times(film: Path) -> None:
    windows = VideoWindows(film, FrameSelection(10, windows=4))
    found = list(windows)
    assert [len(window) for window in found] == pytest.approx([10] * 4, abs=2)
    for window in found:
        first = numbers(window)[0]
        assert numbers(window) == list(range(first, first + len(window)))
        assert window.pts_seconds == pytest.approx(np.array(numbers(window)) * FRAME, abs=FRAME / 2)
    assert found[-1].end_seconds == pytest.approx(TOTAL * FRAME, abs=FRAME / 2)


@pytest.mark.parametrize(
    ("suffix", "change"), [("avi", bytes), ("asf", bytes), ("flv", without_composition_times)]
)
def test_concatenated_parts_follow_one_another(
    tmp_path: Path, suffix: str, change: Callable[[bytes], bytes]
) -> None:
    part = change(written(tmp_path / f"part.{suffix}", 50).read_bytes())
    path = tmp_path / f"film.{suffix}"
    path.write_bytes(part + part)
    clip = decode_clip(path, FrameSelection(50, Sampling.UNIFORM))
    expected = np.arange(1, 100, 2)
    assert numbers(clip.frames) == list(expected % 50)
    assert clip.frames.pts_seconds == pytest.approx(expected * FRAME, abs=FRAME)


def test_a_stream_that_starts_anew_inside_its_framing(tmp_path: Path) -> None:
    """A recorder that appended tags without a header: one stream, whose packets fall back to zero."""
    part = without_composition_times(written(tmp_path / "part.flv", 50).read_bytes())
    path = tmp_path / "film.flv"
    path.write_bytes(part + part[13:])
    clip = decode_clip(path, FrameSelection(50, Sampling.UNIFORM))
    assert numbers(clip.frames) == list(np.arange(1, 100, 2) % 50)
    assert clip.frames.pts_seconds == pytest.approx(np.arange(1, 100, 2) * FRAME, abs=FRAME)


def test_files_in_decoding_order_have_falling_timestamps(tmp_path: Path) -> None:
    path = written(tmp_path / "a.avi", 50)
    with av.open(str(path)) as container:
        stamps = [frame.pts for frame in container.decode(video=0)]
    known = [stamp for stamp in stamps if stamp is not None]
    assert known != sorted(known)


def played(packets: list[float], frames: list[int], *, may_reorder: bool = True) -> list[float | None]:
    """Timestamps of frames, each given by the number of its packet, out of a decoder five packets behind."""
    reorderer, left = TimestampReorderer[int](), list(frames)
    given: list[tuple[int, float | None]] = []
    for number, stamp in enumerate(packets):
        reorderer.add_packet(stamp)
        while left and left[0] + 5 <= number:
            given += reorderer.add_frame(left[0], packets[left.pop(0)], may_reorder=may_reorder)
    for frame in left:
        given += reorderer.add_frame(frame, packets[frame], may_reorder=may_reorder)
    given += reorderer.flush()
    assert [frame for frame, _ in given] == frames
    return [stamp for _, stamp in given]


def groups(count: int) -> list[int]:
    """Frames by decoding number in display order: of each four, the first decoded is displayed last."""
    return [4 * group + number for group in range(count) for number in (1, 2, 3, 0)]


def test_decoding_order_becomes_display_order() -> None:
    packets = [float(number) for number in range(400)]
    assert played(packets, groups(100)) == packets


def test_packets_that_fall_are_believed() -> None:
    """Presentation times, and clocks that start anew, of frames in order."""
    displayed = [3.0, 0.0, 1.0, 2.0, 7.0, 4.0, 5.0, 6.0]
    assert played(displayed, groups(2)) == sorted(displayed)
    restarted = [*range(30), *range(30)]
    assert played([float(stamp) for stamp in restarted], list(range(60))) == restarted


def test_a_restart_in_decoding_order() -> None:
    packets = [float(number) for number in [*range(40), *range(40)]]
    assert played(packets, groups(20)) == packets


@pytest.mark.parametrize("may_reorder", [True, False])
def test_packets_without_a_frame_shift_nothing_where_nothing_is_reordered(may_reorder: bool) -> None:
    """VP8's invisible frames, and second fields: every other packet gives none."""
    packets = [float(number) for number in range(400)]
    frames = list(range(0, 400, 2))
    assert played(packets, frames, may_reorder=may_reorder) == frames


def test_lost_packets_are_caught_up_with() -> None:
    packets = [float(number) for number in range(400)]
    frames = [frame for frame in groups(100) if not 40 <= frame < 50]
    given = played(packets, frames)
    assert given[: len(groups(10))] == packets[:40]
    assert given[-300:] == packets[-300:]
    assert all(one is None or other is None or one <= other for one, other in itertools.pairwise(given))


def test_no_frame_is_held_back_without_reordering() -> None:
    reorderer = TimestampReorderer[str]()
    reorderer.add_packet(0.0)
    assert list(reorderer.add_frame("first", 0.0, may_reorder=False)) == [("first", 0.0)]


def test_a_lost_packet_takes_no_other_s_timestamp_along() -> None:
    """A damaged one from far ahead, whose frame never comes."""
    packets = [900.0, *(float(number) for number in range(60))]
    assert played(packets, list(range(1, 61))) == packets[1:]
