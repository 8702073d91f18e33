"""Where one file ends and the next begins, by the framing of each container."""

from __future__ import annotations

import io
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import quarters, write_clip

from deepfake_triton.preprocessing.media.concatenated_files import (
    find_further_files,
    independent_view,
    split_parts,
    tail_from,
)
from deepfake_triton.preprocessing.video.clip import decode_clip
from deepfake_triton.preprocessing.video.sampling import FrameSelection

pytestmark = pytest.mark.fast

SUFFIXES = ["mp4", "mov", "mkv", "webm", "avi", "flv", "wmv", "ivf", "nut"]
_FRAGMENTED = {"movflags": "frag_keyframe+empty_moov"}


def film(path: Path, frames: int = 3, **options: Any) -> bytes:
    codec = {".avi": "mpeg4", ".webm": "libvpx", ".wmv": "wmv2", ".ivf": "libvpx"}.get(path.suffix, "libx264")
    return write_clip(path, [quarters(160, 120)] * frames, codec=codec, **options).read_bytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_each_part_of_a_concatenated_file_is_found(tmp_path: Path, suffix: str) -> None:
    parts = [film(tmp_path / f"{frames}.{suffix}", frames) for frames in (3, 5, 2)]
    content = b"".join(parts)
    starts = [len(parts[0]), len(parts[0]) + len(parts[1])]
    assert find_further_files(io.BytesIO(content), len(content)) == starts
    assert [part.read() for part in split_parts(io.BytesIO(content), len(content))] == parts
    assert find_further_files(io.BytesIO(parts[0]), len(parts[0])) == []


@pytest.mark.parametrize(
    "options",
    [{"movflags": "frag_keyframe+empty_moov"}, {"movflags": "faststart"}, {"movflags": "hybrid_fragmented"}],
)
def test_one_movie_is_one_file_however_it_is_laid_out(tmp_path: Path, options: dict[str, str]) -> None:
    content = film(tmp_path / "a.mp4", 30, codec_options={"g": "5"}, container_options=options)
    assert find_further_files(io.BytesIO(content), len(content)) == []


def test_concatenated_fragmented_movies_are_found(tmp_path: Path) -> None:
    fragmented, plain = (
        film(tmp_path / "a.mp4", 30, codec_options={"g": "10"}, container_options=options)
        for options in (_FRAGMENTED, {})
    )
    for first, other in ((fragmented, fragmented), (plain, fragmented), (fragmented, plain)):
        content = first + other
        assert find_further_files(io.BytesIO(content), len(content)) == [len(first)]
        (tmp_path / "both.mp4").write_bytes(content)
        clip = decode_clip(tmp_path / "both.mp4", FrameSelection(64))
        assert clip.frames.pts_seconds == pytest.approx(np.arange(60) / 25, abs=0.05)
        assert clip.duration_seconds == pytest.approx(60 / 25, abs=0.1) and clip.fault is None


def test_a_live_stream_that_repeats_its_header_is_one_movie(tmp_path: Path) -> None:
    """Before each fragment, with times that go on."""
    content = film(tmp_path / "a.mp4", 30, codec_options={"g": "10"}, container_options=_FRAGMENTED)
    first, *others = (found.start() - 4 for found in re.finditer(b"moof", content))
    live = content[: others[0]]
    for start, end in itertools.pairwise([*others, len(content)]):
        live += content[:first] + content[start:end]
    assert live.count(b"ftyp") == 3 and find_further_files(io.BytesIO(live), len(live)) == []


@pytest.mark.parametrize("suffix", ["ivf", "nut"])
def test_concatenated_parts_are_decoded(tmp_path: Path, suffix: str) -> None:
    part = film(tmp_path / f"a.{suffix}", 20)
    (tmp_path / f"b.{suffix}").write_bytes(part + part)
    clip = decode_clip(tmp_path / f"b.{suffix}", FrameSelection(64))
    assert clip.frames.pts_seconds == pytest.approx(np.arange(40) / 25, abs=0.05)
    assert clip.duration_seconds == pytest.approx(40 / 25, abs=0.1) and clip.fault is None


def test_what_follows_that_is_no_video_costs_nothing_but_a_note(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    content = film(path, 30)
    path.write_bytes(content + b"\x00\x00\x00\x10ftypisom\x00\x00\x00\x00" + b"\x00\x00\x00\x08moov")
    clip = decode_clip(path, FrameSelection(64))
    assert (
        len(clip.frames) == 30
        and clip.fault is not None
        and "a concatenated file cannot be read" in clip.fault
    )


def test_parts_of_different_codecs_and_sizes_are_one_video(tmp_path: Path) -> None:
    first = write_clip(tmp_path / "first.mkv", [quarters(160, 120)] * 4).read_bytes()
    other = write_clip(tmp_path / "other.mkv", [quarters(320, 240)] * 4, codec="mpeg4").read_bytes()
    (tmp_path / "both.mkv").write_bytes(first + other)
    clip = decode_clip(tmp_path / "both.mkv")
    assert clip.frames.data.shape == (8, 120, 160, 3) and clip.fault is None
    assert clip.frames.pts_seconds == pytest.approx(np.arange(8) / 25, abs=0.002)
    assert clip.duration_seconds == pytest.approx(8 / 25, abs=0.002)


@given(
    st.sampled_from([b"FLV\x01", b"\x1aE\xdf\xa3", b"RIFF\0\0\0\0AVI ", b"\0\0\0\x10ftyp", b"DKIF"]),
    st.binary(),
)
def test_anything_may_follow(magic: bytes, rest: bytes) -> None:
    file = io.BytesIO(magic + rest)
    size = len(file.getvalue())
    assert all(0 < start < size for start in find_further_files(file, size)) and file.tell() == 0


def test_a_view_keeps_its_place_whoever_reads_the_file_beside() -> None:
    file = io.BytesIO(bytes(range(100)))
    view = independent_view(file)
    assert view.read(10) == bytes(range(10))
    file.seek(50)
    assert view.read(3) == bytes([10, 11, 12]) and view.tell() == 13
    assert view.seek(-2, io.SEEK_END) == 98 and view.read() == bytes([98, 99]) and view.read() == b""


def test_a_tail_is_read_unless_it_is_a_remnant() -> None:
    file = io.BytesIO(bytes(1000))
    tail = tail_from(file, 900)
    assert tail is not None and tail.read() == bytes(100)
    assert tail_from(file, 960) is None and tail_from(file, 1000) is None
