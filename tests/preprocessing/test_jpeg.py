from __future__ import annotations

import contextlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import backdrop, quarter_colours, quarters

from deepfake_triton.errors import InvalidFrames
from deepfake_triton.preprocessing.jpeg import decode_frames, encode_frames, jpeg_size


def test_there_and_back() -> None:
    frames = np.stack([quarters(), quarters()[::-1], backdrop(240, 320)])
    back = decode_frames(encode_frames(frames))
    assert back.shape == frames.shape
    assert quarter_colours(back[0]) == quarter_colours(frames[0])
    assert np.abs(back[2].astype(int) - frames[2]).mean() < 2


def test_chroma_is_kept_in_full() -> None:
    """Columns of one pixel in two colours of one lightness: 4:2:0 would mix them."""
    columns = np.zeros((16, 16, 3), np.uint8)
    columns[:, ::2] = (190, 90, 110)
    columns[:, 1::2] = (90, 130, 200)
    (back,) = decode_frames(encode_frames(columns[None], quality=100))
    assert np.abs(back.astype(int) - columns).max() < 12


@pytest.mark.parametrize("size", [(1, 1), (640, 360), (17, 4000)])
def test_the_size_is_read_without_decoding(size: tuple[int, int]) -> None:
    width, height = size
    (file,) = encode_frames(np.zeros((1, height, width, 3), np.uint8))
    assert jpeg_size(file) == size
    assert jpeg_size(file[:2] + b"\xff\xe0\x00\x04ab" + file[2:]) == size


def test_a_giant_costs_nothing() -> None:
    (file,) = encode_frames(np.zeros((1, 8, 8, 3), np.uint8))
    at = file.index(b"\xff\xc0") + 5
    giant = file[:at] + b"\xff\xff\xff\xff" + file[at + 4 :]
    assert jpeg_size(giant) == (65535, 65535)
    with pytest.raises(InvalidFrames, match="65535 × 65535 px, at most"):
        decode_frames([giant])


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
def test_any_bytes_are_a_picture_or_a_typed_error(noise: bytes, at: int, value: int) -> None:
    (whole,) = encode_frames(np.arange(16 * 16 * 3, dtype=np.uint8).reshape(1, 16, 16, 3))
    broken = bytearray(whole)
    broken[at % len(broken)] = value
    for file in (noise, b"\xff\xd8" + noise, bytes(broken), whole[:at], whole[: at % len(whole)] + noise):
        with contextlib.suppress(InvalidFrames):
            assert decode_frames([file]).dtype == np.uint8
