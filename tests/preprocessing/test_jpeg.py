from __future__ import annotations

import contextlib
import time

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import backdrop, quarter_colors, quarters

from deepfake_triton.contracts import JPEG_HEADER_BYTES, MAX_CLIP_PIXELS, MAX_JPEG_SCANS
from deepfake_triton.errors import InvalidFrames
from deepfake_triton.preprocessing.jpeg import decode_frames, encode_frames

pytestmark = pytest.mark.fast


def test_there_and_back() -> None:
    frames = np.stack([quarters(), quarters()[::-1], backdrop(240, 320)])
    back = decode_frames(encode_frames(frames))
    assert back.shape == frames.shape
    assert quarter_colors(back[0]) == quarter_colors(frames[0])
    assert np.abs(back[2].astype(int) - frames[2]).mean() < 2


def test_chroma_is_kept_in_full() -> None:
    """Columns of one pixel in two colors of one lightness: 4:2:0 would mix them."""
    columns = np.zeros((16, 16, 3), np.uint8)
    columns[:, ::2] = (190, 90, 110)
    columns[:, 1::2] = (90, 130, 200)
    (back,) = decode_frames(encode_frames(columns[None], quality=100))
    assert np.abs(back.astype(int) - columns).max() < 12


def test_a_giant_costs_nothing() -> None:
    (file,) = encode_frames(np.zeros((1, 8, 8, 3), np.uint8))
    at = file.index(b"\xff\xc0") + 5
    giant = file[:at] + b"\xff\xff\xff\xff" + file[at + 4 :]
    with pytest.raises(InvalidFrames, match="1 of 65535 × 65535 px, expected"):
        decode_frames([giant])


def test_the_clip_is_bounded_by_its_headers() -> None:
    """Five frames that claim 4096 × 4096: refused undecoded, or this would take a second and 250 MB."""
    (file,) = encode_frames(np.zeros((1, 8, 8, 3), np.uint8))
    at = file.index(b"\xff\xc0") + 5
    large = file[:at] + b"\x10\x00\x10\x00" + file[at + 4 :]
    began = time.thread_time()
    with pytest.raises(InvalidFrames, match=f"got {5 * 4096**2} pixels .*at most {MAX_CLIP_PIXELS} a clip"):
        decode_frames([large] * 5)
    assert time.thread_time() - began < 0.1


def test_progressive_files_are_taken_and_scan_bombs_refused() -> None:
    image = backdrop(64, 96)
    file = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    (back,) = decode_frames([file])
    assert np.abs(back.astype(int) - image).mean() < 3
    last = file[file.rindex(b"\xff\xda") : -2]
    bomb = file[:-2] + 1000 * last + file[-2:]
    with pytest.raises(InvalidFrames, match=f"got a JPEG file of 1010 scans, at most {MAX_JPEG_SCANS}"):
        decode_frames([file, bomb])


def test_bytes_that_no_image_needs_are_refused() -> None:
    (file,) = encode_frames(np.zeros((1, 8, 8, 3), np.uint8))
    assert decode_frames([file + bytes(JPEG_HEADER_BYTES - len(file))]).shape == (1, 8, 8, 3)
    with pytest.raises(InvalidFrames, match="bytes for 8 × 8 px, at most"):
        decode_frames([file + bytes(JPEG_HEADER_BYTES)])
    noise = np.random.default_rng(0).integers(0, 256, (1, 1024, 1024, 3), np.uint8)
    assert decode_frames(encode_frames(noise, quality=100)).shape == noise.shape


def test_what_cannot_be_a_clip_is_refused() -> None:
    small, large = (encode_frames(np.zeros((1, height, 8, 3), np.uint8))[0] for height in (8, 9))
    for files, message in (
        ([], "expected 1…64"),
        ([small] * 65, "expected 1…64"),
        ([small, large], "several sizes"),
        ([b""], "no JPEG file"),
        ([cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()], "no JPEG file"),
    ):
        with pytest.raises(InvalidFrames, match=message):
            decode_frames(files)


@given(st.binary(max_size=300), st.integers(0, 400), st.integers(0, 255))
def test_any_bytes_are_a_image_or_a_typed_error(noise: bytes, at: int, value: int) -> None:
    (whole,) = encode_frames(np.arange(16 * 16 * 3, dtype=np.uint8).reshape(1, 16, 16, 3))
    broken = bytearray(whole)
    broken[at % len(broken)] = value
    for file in (noise, b"\xff\xd8" + noise, bytes(broken), whole[:at], whole[: at % len(whole)] + noise):
        with contextlib.suppress(InvalidFrames):
            assert decode_frames([file]).dtype == np.uint8
