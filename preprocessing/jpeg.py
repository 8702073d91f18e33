"""Frames as JPEG files and back: a tenth of the bytes, for slow networks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.contracts import JPEG_QUALITY, MAX_FRAMES, MAX_SERVED_FRAME_SIDE
from deepfake_triton.errors import InvalidFrames

_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""SOF0…SOF15 of ITU-T T.81, table B.1; what is left out are tables."""
_STANDALONE_MARKERS = frozenset((0x01, *range(0xD0, 0xD9)))
_START_OF_SCAN = 0xDA
_THREADS = min(4, os.cpu_count() or 1)


def encode_frames(frames: npt.NDArray[np.uint8], quality: int = JPEG_QUALITY) -> list[bytes]:
    """`frames` [T, H, W, 3] uint8 RGB as JPEG files of a `quality` of 1…100, with chroma in full (4:4:4)."""
    options = [
        *(cv2.IMWRITE_JPEG_QUALITY, quality),
        *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    ]

    def encoded(frame: npt.NDArray[np.uint8]) -> bytes:
        return cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), options)[1].tobytes()

    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(encoded, frames))


def decode_frames(files: Sequence[bytes]) -> npt.NDArray[np.uint8]:
    """JPEG files of one size to frames [T, H, W, 3] uint8 RGB, 1…64 of them.

    Raises InvalidFrames on anything else; what a file claims of its size is checked before it is decoded.
    """
    if not 1 <= len(files) <= MAX_FRAMES:
        raise InvalidFrames(f"encoded_frames: got {len(files)}, expected 1…{MAX_FRAMES} JPEG files")
    sizes = {jpeg_size(file) for file in files}
    if len(sizes) > 1:
        raise InvalidFrames(f"encoded_frames: got frames of several sizes ({sorted(sizes)}), expected one")
    ((width, height),) = sizes
    if max(width, height) > MAX_SERVED_FRAME_SIDE:
        raise InvalidFrames(
            f"encoded_frames: got {width} × {height} px, at most {MAX_SERVED_FRAME_SIDE} a side; "
            "scale them down"
        )
    with ThreadPoolExecutor(_THREADS) as pool:
        return np.stack(list(pool.map(_decoded, files)))


def jpeg_size(file: bytes) -> tuple[int, int]:
    """Width and height in px that a JPEG file says it has. Raises InvalidFrames when it is none."""
    position = 2
    while file[:2] == b"\xff\xd8" and position + 9 <= len(file) and file[position] == 0xFF:
        marker = file[position + 1]
        if marker in _STANDALONE_MARKERS or marker == 0xFF:  # the latter is padding
            position += 1 if marker == 0xFF else 2
            continue
        if marker == _START_OF_SCAN:
            break
        if marker in _FRAME_MARKERS:
            height, width = (int.from_bytes(file[position + at : position + at + 2], "big") for at in (5, 7))
            if width and height:
                return width, height
            break
        position += 2 + int.from_bytes(file[position + 2 : position + 4], "big")
    raise InvalidFrames(f"encoded_frames: {len(file)} bytes that are no JPEG file")


def _decoded(file: bytes) -> npt.NDArray[np.uint8]:
    try:
        picture = cv2.imdecode(
            np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        )
    except cv2.error as error:
        raise InvalidFrames(f"encoded_frames: a JPEG file cannot be decoded: {error}") from error
    if picture is None:
        raise InvalidFrames("encoded_frames: a JPEG file is damaged")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
