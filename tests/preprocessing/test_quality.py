from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
import pytest
from conftest import Portrait

from deepfake_triton.arrays import Image
from deepfake_triton.client_defaults import MAX_BLOCKINESS, MIN_SHARPNESS
from deepfake_triton.preprocessing.crops import CropRule, crop_face
from deepfake_triton.preprocessing.quality import blockiness_of, sharpness_of

pytestmark = pytest.mark.fast


def head_of(portrait: Portrait) -> Image:
    """The square around its face."""
    x1, y1, x2, y2 = portrait.face
    half, center_x, center_y = max(x2 - x1, y2 - y1) / 2, (x1 + x2) / 2, (y1 + y2) / 2
    top, left = max(0, round(center_y - half)), max(0, round(center_x - half))
    return portrait.patch[top : round(center_y + half), left : round(center_x + half)]


def compressed(image: Image, codec: str, **options: str) -> Image:
    """The last of four frames that move by a pixel each, at the given quality of the codec."""
    height, width = (side // 2 * 2 for side in image.shape[:2])
    encoder: Any = av.CodecContext.create(codec, "w")
    encoder.height, encoder.width = height, width
    encoder.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
    encoder.options = {"threads": "1", **options}
    packets = []
    for number in range(4):
        pixels = np.ascontiguousarray(np.roll(image, 3 - number, axis=1)[:height, :width])
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=encoder.pix_fmt)
        frame.pts, frame.time_base = number, Fraction(1, 25)
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    decoder: Any = av.CodecContext.create({"libx264": "h264", "libvpx": "vp8"}.get(codec, codec), "r")
    decoder.extradata = encoder.extradata
    frames = [frame for packet in packets for frame in decoder.decode(packet)] + decoder.decode(None)
    return np.asarray(frames[-1].to_ndarray(format="rgb24"), np.uint8)


def scaled(image: Image, scale: float) -> Image:
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=how), np.uint8)


def noisy(image: Image) -> Image:
    noise = np.random.default_rng(0).normal(0, 8, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def gray(image: Image) -> Image:
    return np.asarray(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8)


def sharpened(image: Image) -> Image:
    soft = cv2.GaussianBlur(image, (0, 0), 1.2).astype(np.float32)
    return np.clip(2 * image - soft, 0, 255).astype(np.uint8)


def texture(side: int) -> Image:
    """Edges in all directions."""
    noise = np.random.default_rng(1).normal(0, 1, (side, side)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 2.5)
    levels = np.clip(128 + 60 * soft / soft.std(), 0, 255).astype(np.uint8)
    return np.dstack([levels] * 3)


def in_blocks(image: Image, side: int) -> Image:
    """Blocks of one color each: all that is left of a image when only DC coefficients are."""
    small = cv2.resize(image, None, fx=1 / side, fy=1 / side, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_NEAREST), np.uint8)


@pytest.mark.parametrize("scale", [1.0, 1.37, 0.6])
def test_blocks_on_a_grid_of_any_period_and_origin_are_seen(scale: float) -> None:
    plain = texture(120)
    blocky = scaled(in_blocks(plain, 8), scale)[3:, 5:]
    assert blockiness_of(scaled(plain, scale)[3:, 5:]) < MAX_BLOCKINESS < blockiness_of(blocky)


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("libx264", {"crf": "46", "preset": "veryfast"}),
        ("libx264", {"crf": "42", "preset": "veryfast", "x264-params": "no-deblock=1"}),
        ("mpeg4", {"qmin": "31", "qmax": "31"}),
        ("mpeg2video", {"qmin": "31", "qmax": "31"}),
        ("mjpeg", {"qmin": "31", "qmax": "31"}),
        ("flv", {"qmin": "31", "qmax": "31"}),
    ],
)
def test_heavy_compression_is_blocky_where_sharpness_sees_nothing(
    portrait: Portrait, codec: str, options: dict[str, str]
) -> None:
    left = compressed(head_of(portrait), codec, **options)
    box = np.array([0, 0, left.shape[1], left.shape[0]])
    assert blockiness_of(left) > MAX_BLOCKINESS
    assert sharpness_of(crop_face(left, box, CropRule(112))) > MIN_SHARPNESS


@pytest.mark.parametrize("scale", [1.25, 1.5, 2.0, 3.0])
@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("libx264", {"crf": "40", "preset": "veryfast"}),
        ("libvpx", {"qmin": "60", "qmax": "63", "b": "2000k", "deadline": "realtime"}),
        ("mpeg4", {"qmin": "16", "qmax": "16"}),
        ("mpeg2video", {"qmin": "12", "qmax": "12"}),
    ],
    ids=["h264", "vp8", "mpeg4", "mpeg2"],
)
def test_what_was_enlarged_after_compression_is_still_blocky(
    *, portrait: Portrait, codec: str, options: dict[str, str], scale: float
) -> None:
    enlarged = scaled(compressed(scaled(head_of(portrait), 0.5), codec, **options), scale)
    again = compressed(enlarged, "libx264", crf="18", preset="veryfast")
    assert blockiness_of(again) > MAX_BLOCKINESS


@pytest.mark.parametrize(
    "change",
    [
        lambda head: head,
        gray,
        noisy,
        lambda head: cv2.GaussianBlur(head, (0, 0), 1.5),
        lambda head: scaled(head, 0.4),
        lambda head: scaled(scaled(head, 0.5), 2),
        lambda head: compressed(scaled(head, 2), "libx264", crf="18", preset="veryfast"),
        sharpened,
        lambda head: (head * 0.3).astype(np.uint8),
        lambda head: compressed(head, "libx264", crf="23", preset="veryfast"),
        lambda head: compressed(head, "mpeg4", qmin="3", qmax="3"),
    ],
    ids=[
        "plain",
        "gray",
        "noise",
        "blur",
        "small",
        "soft",
        "enlarged",
        "sharpened",
        "dark",
        "crf 23",
        "mpeg4",
    ],
)
def test_a_face_of_any_camera_is_not(portrait: Portrait, change: Callable[[Image], Image]) -> None:
    assert 0.3 < blockiness_of(change(head_of(portrait))) < MAX_BLOCKINESS


def test_it_does_not_depend_on_which_way_is_up(portrait: Portrait) -> None:
    head = head_of(portrait)[:112, :112]
    turned = np.ascontiguousarray(np.rot90(head))
    assert blockiness_of(turned) == pytest.approx(blockiness_of(head), rel=1e-4)
    assert blockiness_of(head) == blockiness_of(head.copy())


@pytest.mark.parametrize("shape", [(0, 0), (40, 0), (15, 60), (64, 64)])
def test_nothing_to_see_is_not_blocky(shape: tuple[int, int]) -> None:
    assert blockiness_of(np.full((*shape, 3), 90, np.uint8)) == 0


def test_a_strip_of_a_face_is_not_judged_and_stripes_are_no_face() -> None:
    assert blockiness_of(np.ascontiguousarray(texture(600)[:20])) == 0
    stripes = np.tile(texture(120)[:1], (120, 1, 1))
    assert MAX_BLOCKINESS < blockiness_of(stripes) < np.inf
