"""Images in hand-made HEIC and AVIF files are decoded whole and upright."""

from __future__ import annotations

import io
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from heif_files import coded, full_box, grid, heif, item
from support import BLUE, GREEN, RED, WHITE, quarter_colors, quarters

from deepfake_triton.arrays import Image
from deepfake_triton.errors import VideoTooLarge, VideoUndecodable
from deepfake_triton.preprocessing.decoding.orientation import Orientation, orientation_from_exif
from deepfake_triton.preprocessing.photos.heif import read_orientation_of_item, read_primary_image
from deepfake_triton.preprocessing.video.clip import decode_clip

pytestmark = pytest.mark.fast


def turned(quarter_turns: int) -> bytes:
    return b"\0\0\0\x09irot" + bytes([quarter_turns])


def mirrored(*, left_to_right: bool) -> bytes:
    return b"\0\0\0\x09imir" + bytes([left_to_right])


def plain(color: tuple[int, int, int], width: int = 128, height: int = 64) -> Image:
    return np.full((height, width, 3), color, np.uint8)


def tiles_2x2(kind: str, pixel_format: str = "yuv420p") -> list[tuple[str, bytes, list[bytes]]]:
    return [item(coded(plain(color), kind, pixel_format)) for color in (RED, GREEN, BLUE, WHITE)]


@pytest.mark.parametrize(
    ("kind", "pixel_format"), [("hvc1", "yuv420p"), ("hvc1", "yuv420p10le"), ("av01", "yuv420p")]
)
def test_tiles_become_one_image(tmp_path: Path, kind: str, pixel_format: str) -> None:
    """The last column and row extend beyond the image, whose width and height are odd."""
    path = tmp_path / "phone.heic"
    path.write_bytes(heif([grid((2, 2), (241, 119)), *tiles_2x2(kind, pixel_format)], {1: [2, 3, 4, 5]}))
    frames = decode_clip(path).frames.data
    assert frames.shape == (1, 119, 241, 3)
    assert quarter_colors(frames[0]) == [RED, GREEN, BLUE, WHITE]
    edges = np.abs(np.diff(frames[0, 20].astype(int), axis=0)).max(axis=1)
    assert int(edges.argmax()) in (126, 127)  # where the second tile begins; chroma is spread over it


def test_a_thumbnail_beside_tiles_and_the_order_of_items_do_not_matter(tmp_path: Path) -> None:
    thumbnail = item(coded(plain((0, 0, 0), 64, 64)))
    path = tmp_path / "phone.heic"
    path.write_bytes(
        heif([grid((2, 2), (256, 128), turned(3)), thumbnail, *tiles_2x2("hvc1")[::-1]], {1: [6, 5, 4, 3]})
    )
    frames = decode_clip(path).frames.data
    assert frames.shape == (1, 256, 128, 3)
    assert quarter_colors(frames[0]) == [BLUE, RED, WHITE, GREEN]


@pytest.mark.parametrize("value", range(1, 9))
def test_turns_and_mirrors_mean_what_the_eight_exif_values_do(tmp_path: Path, value: int) -> None:
    """As libheif and libavif write them: turned first, then mirrored."""
    properties = {
        1: [],
        2: [mirrored(left_to_right=True)],
        3: [turned(2)],
        4: [mirrored(left_to_right=False)],
        5: [turned(1), mirrored(left_to_right=False)],
        6: [turned(3)],
        7: [turned(3), mirrored(left_to_right=False)],
        8: [turned(1)],
    }[value]
    data = heif([item(coded(quarters(128, 64)), *properties)], {})
    image = read_primary_image(Path("a.heic"), io.BytesIO(data), len(data))
    assert image is not None
    assert read_orientation_of_item(io.BytesIO(data), image.item) == orientation_from_exif(value)
    path = tmp_path / "phone.heic"
    path.write_bytes(data)
    upright = orientation_from_exif(value).apply(quarters(128, 64))
    assert quarter_colors(decode_clip(path).frames.data[0]) == quarter_colors(upright)


def test_one_orientation_after_another() -> None:
    image = np.random.default_rng(0).integers(0, 255, (3, 5, 3), np.uint8)
    every = [Orientation(mirrored, turns) for mirrored in (False, True) for turns in range(4)]
    for first in every:
        for second in every:
            both = first.then(second).apply(image)
            assert np.array_equal(both, second.apply(first.apply(image)))


def test_the_primary_item_is_decoded(tmp_path: Path) -> None:
    """The other one is larger, such as the depth map or the gain map of a phone."""
    path = tmp_path / "two.heic"
    path.write_bytes(heif([item(coded(quarters(128, 64))), item(coded(plain(BLUE, 256, 256)))], {}))
    frames = decode_clip(path).frames.data
    assert frames.shape == (1, 64, 128, 3) and quarter_colors(frames[0]) == [RED, GREEN, BLUE, WHITE]


def test_what_cannot_be_put_together_is_said(tmp_path: Path) -> None:
    tiles, square = tiles_2x2("hvc1"), item(coded(plain(RED, 64, 64)))
    cases = {
        "3 tiles, expected 2 × 2": heif([grid((2, 2), (256, 128)), *tiles[:3]], {1: [2, 3, 4]}),
        "lie outside": heif([grid((2, 2), (100, 50)), *tiles], {1: [2, 3, 4, 5]}),
        "leave gaps": heif([grid((2, 2), (300, 128)), *tiles], {1: [2, 3, 4, 5]}),
        "differ in size": heif([grid((1, 2), (192, 64)), tiles[0], square], {1: [2, 3]}),
        "of which there is no decoder": heif([grid((1, 1), (128, 64)), ("unci", b"x", [])], {1: [2]}),
        "grid is damaged": heif([("grid", b"\0\0", []), *tiles], {1: [2, 3, 4, 5]}),
        "of kind 'iovl'": heif([("iovl", b"\0" * 20, []), *tiles], {1: [2, 3, 4, 5]}),
    }
    path = tmp_path / "odd.heic"
    for says, data in cases.items():
        path.write_bytes(data)
        with pytest.raises(VideoUndecodable, match=says):
            decode_clip(path)
    path.write_bytes(heif([grid((2, 2), (40_000, 40_000)), *tiles], {1: [2, 3, 4, 5]}))
    with pytest.raises(VideoTooLarge, match="40000 × 40000"):
        decode_clip(path)


def test_any_damage_to_the_boxes_is_a_typed_error_or_an_image(tmp_path: Path) -> None:
    whole = heif([grid((2, 2), (256, 128)), *tiles_2x2("hvc1")], {1: [2, 3, 4, 5]})
    random = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(whole)
        for position in random.integers(0, 700, 8):
            damaged[position] = random.integers(256)
        try:
            image = read_primary_image(Path("a.heic"), io.BytesIO(damaged), len(damaged))
        except VideoUndecodable:
            continue
        assert image is None or image.item.kind


def test_a_small_file_that_claims_billions_of_parts_ends_at_once(tmp_path: Path) -> None:
    """Places of no bytes each: 65,535 for every item, of which there are 40."""
    places = struct.pack(">HH", 0, 40) + struct.pack(">HHH", 1, 0, 65_535) * 40
    plain_file = heif([item(coded(plain(RED))) for _ in range(2)], {})
    at = plain_file.index(b"iloc") - 4
    old = int.from_bytes(plain_file[at : at + 4], "big")
    new = full_box(b"iloc", places)
    meta = plain_file.index(b"meta") - 4
    length = struct.pack(">I", int.from_bytes(plain_file[meta : meta + 4], "big") + len(new) - old)
    path = tmp_path / "bomb.heic"
    path.write_bytes(plain_file[:meta] + length + plain_file[meta + 4 : at] + new + plain_file[at + old :])
    started = time.thread_time()
    with pytest.raises(VideoUndecodable, match="damaged boxes"):
        decode_clip(path)
    assert time.thread_time() - started < 5
