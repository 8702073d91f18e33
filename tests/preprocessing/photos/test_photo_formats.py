"""A photo is one upright frame, whatever its file holds beside it."""

from __future__ import annotations

import io
import struct
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from photo_files import encoded, exif, jpeg, jpeg_photo, segment, tiff_photo
from support import BLUE, GREEN, RED, WHITE, quarter_colors, quarters, write_clip

from deepfake_triton.arrays import Image
from deepfake_triton.errors import InputError, VideoUndecodable
from deepfake_triton.preprocessing.photos.photo_formats import is_jpeg_tiff
from deepfake_triton.preprocessing.video.clip import decode_clip
from deepfake_triton.preprocessing.video.sampling import FrameSelection, Sampling

pytestmark = pytest.mark.fast

UPRIGHT = [RED, GREEN, BLUE, WHITE]
TRAILER = b"\0\0\0\0SEFHlong trailer of a phone\xff\xd8\xff"


def gray(width: int, height: int) -> Image:
    return np.full((height, width, 3), 128, np.uint8)


def photos_with_company(tmp_path: Path) -> dict[str, bytes]:
    photo, movie = jpeg_photo(1), write_clip(tmp_path / "motion.mp4", [gray(320, 240)] * 5).read_bytes()
    index = segment(0xE2, b"MPF\0" + exif(1))
    return {
        "gain map of half the size": photo + encoded(gray(100, 60)),
        "gain map of the same size": photo + encoded(gray(200, 120)),
        "gain map and depth map": photo + encoded(gray(100, 60)) + encoded(gray(50, 30)),
        "several of one size, by their index": jpeg(quarters(200, 120), index) + encoded(gray(200, 120)) * 3,
        "motion photo": photo + movie,
        "trailer": photo + TRAILER,
        "nothing": photo,
    }


def test_a_photo_is_one_frame(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    for what, data in photos_with_company(tmp_path).items():
        path.write_bytes(data)
        for sampling in Sampling:
            clip = decode_clip(path, FrameSelection(20, sampling))
            assert clip.frames.data.shape == (1, 120, 200, 3) and clip.fault is None, what
            assert quarter_colors(clip.frames.data[0]) == UPRIGHT, what


def test_consecutive_jpeg_images_of_one_size_are_a_video(tmp_path: Path) -> None:
    path = tmp_path / "camera.mjpeg"
    path.write_bytes(encoded(quarters(200, 120)) * 30)
    assert len(decode_clip(path).frames) == 20


def test_a_photo_of_a_camera_is_one_frame_whatever_images_of_its_size_follow(tmp_path: Path) -> None:
    photo, other = jpeg_photo(1), encoded(gray(200, 120))
    path = tmp_path / "a.jpg"
    path.write_bytes(photo + other + other)
    frames = decode_clip(path).frames
    assert len(frames) == 1 and quarter_colors(frames.data[0]) == UPRIGHT
    path.write_bytes(3 * photo)  # a series of photos
    assert len(decode_clip(path).frames) == 3


def jpeg_tiff(*further: tuple[int, int]) -> bytes:
    """A JPEG as the one strip of a TIFF (TIFF Technical Note 2), behind its directory."""
    strip = encoded(quarters(200, 120))
    tags = [(256, 200), (257, 120), (258, 8), (259, 7), (262, 6), (277, 3), (278, 120), *further]
    offset = 8 + 2 + 12 * (len(tags) + 2) + 4
    entries = [struct.pack("<HHIHxx", tag, 3, 1, value) for tag, value in tags]
    entries += [struct.pack("<HHII", tag, 4, 1, value) for tag, value in ((273, offset), (279, len(strip)))]
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + b"".join(sorted(entries)) + bytes(4) + strip


def test_a_tiff_that_ffmpeg_would_show_black_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(jpeg_tiff())
    with pytest.raises(VideoUndecodable, match=r"a\.tif: a TIFF with JPEG compression; convert"):
        decode_clip(path)
    assert not is_jpeg_tiff(io.BytesIO(jpeg_tiff((0xC612, 1))))  # DNG, which FFmpeg decodes
    assert not is_jpeg_tiff(io.BytesIO(tiff_photo(1)))


@pytest.mark.parametrize("content", [b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\0\x09\1\3"])
def test_a_tiff_that_is_cut_is_undecodable(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    assert not is_jpeg_tiff(io.BytesIO(content))
    with pytest.raises(InputError):
        decode_clip(path)


def test_an_animated_png_is_a_video_behind_a_long_profile(tmp_path: Path) -> None:
    path = tmp_path / "a.apng"
    with av.open(str(path), "w", format="apng") as container:
        stream: Any = container.add_stream("apng", rate=10)
        stream.height, stream.width, stream.pix_fmt = 120, 200, "rgb24"
        for index in range(6):
            frame = av.VideoFrame.from_ndarray(np.full((120, 200, 3), 40 * index, np.uint8), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    data, body = path.read_bytes(), b"tEXt" + b"Comment\0" + b"x" * 9000
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    path.write_bytes(data[:33] + chunk + data[33:])
    assert len(decode_clip(path).frames) == 6


def animated_webp(images: list[Image]) -> bytes:
    """Frames of 40 ms, as the container specification of WebP lays them out."""
    height, width = images[0].shape[:2]
    size = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    body = b"VP8X" + struct.pack("<II", 10, 0x02) + size + b"ANIM" + struct.pack("<IIH", 6, 0, 0)
    for image in images:
        frame = bytes(6) + size + struct.pack("<I", 40)[:3] + b"\2" + encoded(image, "webp")[12:]
        body += b"ANMF" + struct.pack("<I", len(frame)) + frame
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def test_an_animated_webp_is_a_video_or_named(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    path.write_bytes(animated_webp([np.full((120, 200, 3), 40 * index, np.uint8) for index in range(6)]))
    if "webp_anim" in av.formats_available:
        assert len(decode_clip(path).frames) == 6
    else:
        with pytest.raises(VideoUndecodable, match="an animated WebP, which only PyAV 19"):
            decode_clip(path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tiff"])
def test_photos_are_videos_of_one_frame_whatever_their_name(tmp_path: Path, suffix: str) -> None:
    photo = quarters(200, 120)
    named = tmp_path / f"photo%03d.{suffix}"
    cv2.imwrite(str(named), photo[..., ::-1])
    clip = decode_clip(named)
    assert clip.frames.data.shape == (1, 120, 200, 3)
    assert quarter_colors(clip.frames.data[0]) == quarter_colors(photo)
