"""Photos are decoded upright, by their EXIF data."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from photo_files import PHOTOS, exif, jpeg, jpeg_photo, segment, stored
from support import BLUE, GREEN, RED, WHITE, quarter_colors, quarters

from deepfake_triton.preprocessing.photos.exif import photo_orientation
from deepfake_triton.preprocessing.video.clip import decode_clip
from deepfake_triton.preprocessing.video.sampling import FrameSelection, Sampling
from deepfake_triton.preprocessing.video.windows import VideoWindows

pytestmark = pytest.mark.fast

UPRIGHT = [RED, GREEN, BLUE, WHITE]


@pytest.mark.parametrize("suffix", PHOTOS)
@pytest.mark.parametrize("value", range(1, 9))
def test_all_eight_exif_orientations_are_displayed_upright(tmp_path: Path, suffix: str, value: int) -> None:
    path = tmp_path / f"photo.{suffix}"
    path.write_bytes(PHOTOS[suffix](value))
    frames = decode_clip(path).frames.data
    assert frames.shape == (1, 120, 200, 3)
    assert quarter_colors(frames[0]) == UPRIGHT


@pytest.mark.parametrize("value", [2, 4, 6, 7])
def test_motion_jpeg_may_carry_exif_orientations_too(tmp_path: Path, value: int) -> None:
    path, image = tmp_path / "camera.mov", jpeg_photo(value)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mjpeg", rate=25)
        stream.height, stream.width = stored(value).shape[:2]
        stream.pix_fmt = "yuvj420p"
        for index in range(30):
            packet = av.Packet(image)
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = index
            container.mux(packet)
    for sampling, count in ((Sampling.CONSECUTIVE, 20), (Sampling.UNIFORM, 8)):
        frames = decode_clip(path, FrameSelection(count, sampling)).frames.data
        assert frames.shape == (count, 120, 200, 3)
        assert all(quarter_colors(frame) == UPRIGHT for frame in frames)
    for window in VideoWindows(path, FrameSelection(4, every_seconds=0.7)):
        assert len(window) == 4 and all(quarter_colors(frame) == UPRIGHT for frame in window.data)


def test_exif_data_that_is_damaged_turns_nothing() -> None:
    random = np.random.default_rng(0)
    for make in PHOTOS.values():
        whole = make(6)
        assert photo_orientation(whole) is not None
        for _ in range(50):
            damaged = bytearray(whole[: random.integers(1, len(whole))])
            for position in random.integers(0, len(damaged), 5):
                damaged[position] = random.integers(256)
            photo_orientation(memoryview(bytes(damaged)))  # raises nothing
    assert photo_orientation(jpeg(quarters(), segment(0xE1, b"Exif\0\0" + exif(9)))) is None
    assert photo_orientation(b"") is None


def test_a_photo_with_exif_data_decodes_upright(tmp_path: Path) -> None:
    _, encoded = cv2.imencode(".jpg", quarters(200, 120)[..., ::-1])
    # Orientation 6: the camera was turned, show it turned by 90 degrees clockwise.
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", 1) + entry + bytes(4)
    data = encoded.tobytes()
    photo = tmp_path / "phone.jpg"
    photo.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
    frames = decode_clip(photo).frames.data
    assert frames.shape == (1, 200, 120, 3)
    assert quarter_colors(frames[0]) == [BLUE, RED, WHITE, GREEN]
