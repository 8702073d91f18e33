"""Encode frames as JPEG files and decode them: a tenth of the bytes, for slow networks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from deepfake_triton.arrays import Frames, Image
from deepfake_triton.contracts import (
    JPEG_BYTES_PER_PIXEL,
    JPEG_HEADER_BYTES,
    JPEG_QUALITY,
    MAX_FRAMES,
    MAX_JPEG_CLIP_BYTES,
    MAX_JPEG_SCANS,
)
from deepfake_triton.errors import InvalidFrames
from deepfake_triton.preprocessing.clip_size import require_clip_size
from deepfake_triton.preprocessing.jpeg_markers import JpegHeader, read_header

_THREADS = min(4, os.cpu_count() or 1)


def encode_frames(frames: Frames, quality: int = JPEG_QUALITY) -> list[bytes]:
    """Encode `frames` [T, H, W, 3] uint8 RGB as JPEG files of a `quality` of 1…100, with 4:4:4 chroma."""
    options = [
        *(cv2.IMWRITE_JPEG_QUALITY, quality),
        *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    ]

    def encode(frame: Image) -> bytes:
        return cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), options)[1].tobytes()

    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(encode, frames))


def decode_frames(files: Sequence[bytes]) -> Frames:
    """Decode 1…64 JPEG files of one size to frames [T, H, W, 3] uint8 RGB.

    Raises InvalidFrames for anything else; size, scans and bytes are checked before anything is decoded.
    """
    if not 1 <= len(files) <= MAX_FRAMES:
        raise InvalidFrames(f"encoded_frames: got {len(files)}, expected 1…{MAX_FRAMES} JPEG files")
    total_bytes = sum(map(len, files))
    if total_bytes > MAX_JPEG_CLIP_BYTES:
        raise InvalidFrames(
            f"encoded_frames: got {total_bytes} bytes, at most {MAX_JPEG_CLIP_BYTES} a clip; scale them down"
        )
    headers = [read_header(file) for file in files]
    sizes = {(header.width, header.height) for header in headers}
    if len(sizes) > 1:
        raise InvalidFrames(f"encoded_frames: got frames of several sizes ({sorted(sizes)}), expected one")
    ((width, height),) = sizes
    require_clip_size("encoded_frames", (len(files), height, width))
    for file, header in zip(files, headers, strict=True):
        _require_decodable(file, header)
    with ThreadPoolExecutor(_THREADS) as pool:
        return np.stack(list(pool.map(_decode, files)))


def _require_decodable(file: bytes, header: JpegHeader) -> None:
    most_bytes = JPEG_BYTES_PER_PIXEL * header.width * header.height + JPEG_HEADER_BYTES
    if len(file) > most_bytes:
        raise InvalidFrames(
            f"encoded_frames: got {len(file)} bytes for {header.width} × {header.height} px, at most "
            f"{most_bytes}; send it without metadata"
        )
    if header.scans > MAX_JPEG_SCANS:
        raise InvalidFrames(
            f"encoded_frames: got a JPEG file of {header.scans} scans, at most {MAX_JPEG_SCANS}; "
            "send it as baseline JPEG"
        )


def _decode(file: bytes) -> Image:
    try:
        image = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise InvalidFrames(f"encoded_frames: a JPEG file cannot be decoded: {error}") from error
    if image is None:
        raise InvalidFrames("encoded_frames: a JPEG file is damaged")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
