from __future__ import annotations

import time

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import backdrop

from deepfake_triton.contracts import MAX_JPEG_SEGMENTS
from deepfake_triton.errors import InvalidFrames
from deepfake_triton.preprocessing.jpeg import encode_frames
from deepfake_triton.preprocessing.jpeg_markers import JpegHeader, read_header

pytestmark = pytest.mark.fast

START, END, SCAN = b"\xff\xd8", b"\xff\xd9", b"\xff\xda\x00\x02"
FRAME = b"\xff\xc0\x00\x08\x08\x00\x10\x00\x20\x01"  # 32 × 16 px
HOSTILE_BYTES = 2_000_000


def progressive(image: np.ndarray) -> bytes:
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 3]
    return bytes(cv2.imencode(".jpg", image, options)[1].tobytes())


@pytest.mark.parametrize("size", [(1, 1), (640, 360), (17, 4000)])
def test_the_size_is_read_without_decoding(size: tuple[int, int]) -> None:
    width, height = size
    (file,) = encode_frames(np.zeros((1, height, width, 3), np.uint8))
    assert read_header(file) == JpegHeader(width, height, scans=1)
    assert read_header(file[:2] + b"\xff\xe0\x00\x04ab" + file[2:]) == JpegHeader(width, height, scans=1)


def test_scans_are_counted_among_stuffed_bytes_restarts_and_padding() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    file = progressive(noise)
    assert b"\xff\x00" in file and b"\xff\xd0" in file
    assert read_header(file) == JpegHeader(96, 64, scans=10)
    assert read_header(START + FRAME + SCAN + b"a\xff\x00b\xff\xd3c\xff\xff" + SCAN + END).scans == 2


def test_what_only_looks_like_a_scan_is_none() -> None:
    """In a comment, in a thumbnail, and behind the image's end, where phones put whole videos."""
    comment = b"\xff\xfe\x00\x0a" + 2 * SCAN
    assert read_header(START + comment + FRAME + SCAN + b"data" + END + 50 * SCAN).scans == 1


def test_a_length_that_a_decoder_would_not_follow_hides_nothing() -> None:
    """Behind a marker without a length, decoders look for the next one."""
    hidden = b"\xff\x02\x00\x0a" + SCAN + SCAN
    assert read_header(START + FRAME + SCAN + hidden + END).scans == 3


@pytest.mark.parametrize(
    "file",
    [b"", START, START + END, START + FRAME, START + SCAN, START + FRAME[:6], b"\x89PNG" + FRAME + SCAN],
)
def test_what_is_no_jpeg_file_is_refused(file: bytes) -> None:
    with pytest.raises(InvalidFrames, match=f"{len(file)} bytes that are no JPEG file"):
        read_header(file)


@pytest.mark.parametrize(
    "unit", [b"\xff", b"\xff\x00", b"\xff\xd0", b"\x00", b"\xff\x02", START, b"\xff\xfe\x00\x02"]
)
def test_the_walk_is_linear(unit: bytes) -> None:
    """A walk that were quadratic would take hours for this."""
    began = time.monotonic()
    with pytest.raises(InvalidFrames, match=r"no JPEG file|segments"):
        read_header(START + unit * (HOSTILE_BYTES // len(unit)))
    assert time.monotonic() - began < 5


def test_more_segments_than_a_image_needs_are_refused() -> None:
    with pytest.raises(InvalidFrames, match=f"{MAX_JPEG_SEGMENTS} segments"):
        read_header(START + FRAME + SCAN + (MAX_JPEG_SEGMENTS + 1) * b"\xff\xfe\x00\x02" + END)


PIECES = st.sampled_from(
    [START, END, SCAN, FRAME, b"\xff", b"\x00", b"\xff\xd0", b"\xff\xfe\xff\xff", b"\xff\x02"]
)


@given(st.one_of(st.binary(max_size=400), st.lists(st.one_of(PIECES, st.binary(max_size=6))).map(b"".join)))
def test_any_bytes_have_a_header_or_a_typed_error(noise: bytes) -> None:
    for file in (noise, START + noise, START + FRAME + SCAN + noise):
        try:
            header = read_header(file)
        except InvalidFrames:
            continue
        assert header.width > 0 and header.height > 0
        assert 1 <= header.scans <= file.count(b"\xff\xda")


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=4))
def test_a_damaged_file_claims_no_more_scans_than_it_has(at: int, damage: bytes) -> None:
    whole = progressive(backdrop(24, 32))
    at %= len(whole)
    file = whole[:at] + damage + whole[at + len(damage) :]
    try:
        assert read_header(file).scans <= file.count(b"\xff\xda")
    except InvalidFrames:
        assert len(file) > 0
