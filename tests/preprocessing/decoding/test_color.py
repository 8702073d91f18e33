"""HDR made from known SDR images comes back as those; untagged HD is read as players read it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from heif_files import coded, heif, item
from support import backdrop, quarters, write_clip

from deepfake_triton.arrays import Image
from deepfake_triton.errors import VideoUndecodable
from deepfake_triton.preprocessing.decoding.color import ColorCoding, ToneMap
from deepfake_triton.preprocessing.video.clip import decode_clip

pytestmark = pytest.mark.fast

Array = npt.NDArray[np.float64]

PQ, HLG, BT2020, BT709, BT601 = 16, 18, 9, 1, 6
WHITE_NITS = 203
_LUMINANCE = np.array([0.2627, 0.6780, 0.0593])
_BT2020_OF_BT709 = np.array(
    [[0.627404, 0.329283, 0.043313], [0.069097, 0.919541, 0.011362], [0.016391, 0.088013, 0.895595]]
)


def pq(nits: Array) -> Array:
    """SMPTE ST 2084, the inverse of its EOTF."""
    power = (np.clip(nits, 0, None) / 10_000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)


def hlg(nits: Array) -> Array:
    """ITU-R BT.2100: the display's curve undone (1000 nits, gamma 1.2), then the camera's."""
    display = np.clip(nits, 0, None) / 1000
    luminance = np.maximum(display @ _LUMINANCE, 1e-9)[..., None]
    scene = display * luminance ** (1 / 1.2 - 1)
    low, high = np.sqrt(3 * scene), 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9))
    return np.where(scene <= 1 / 12, low, high + 0.55991073)


def hdr(image: Image, transfer: int, brighter: float = 1) -> Array:
    """SDR as HDR of the same look: white at 203 nits, in the primaries of BT.2020; values 0…1."""
    nits = brighter * WHITE_NITS * (image / 255) ** 2.4 @ _BT2020_OF_BT709.T
    return pq(nits) if transfer == PQ else hlg(nits)


def write_hdr(path: Path, values: Array, transfer: int, *, matrix: int = BT2020) -> Path:
    """Three frames of one image, lossless, ten bits, full chroma, limited range, tagged."""
    luma = values @ _LUMINANCE
    blue, red = (values[..., 2] - luma) / 1.8814, (values[..., 0] - luma) / 1.4746
    planes = [np.rint(each) for each in (64 + 876 * luma, 512 + 896 * blue, 512 + 896 * red)]
    height, width = luma.shape
    with av.open(str(path), "w") as container:
        encoder, options = ("ffv1", {}) if path.suffix == ".mkv" else ("libx264", {"qp": "0"})
        stream: Any = container.add_stream(encoder, rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv444p10le"
        codec = stream.codec_context
        codec.color_trc, codec.color_primaries, codec.colorspace, codec.color_range = (
            transfer,
            BT2020,
            matrix,
            1,
        )
        for index in range(3):
            frame: Any = av.VideoFrame(width, height, "yuv444p10le")
            for plane, numbers in zip(frame.planes, planes, strict=True):
                rows = np.zeros((height, plane.line_size // 2), np.uint16)
                rows[:, :width] = numbers
                plane.update(rows.tobytes())
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("transfer", [PQ, HLG])
@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts"])
def test_hdr_comes_back_as_the_sdr_that_it_was_made_of(tmp_path: Path, transfer: int, suffix: str) -> None:
    scene = backdrop(120, 160)
    found = decode_clip(write_hdr(tmp_path / f"a.{suffix}", hdr(scene, transfer), transfer)).frames.data[0]
    assert np.abs(found.astype(int) - scene).mean() < 2
    assert np.abs(found.astype(int) - scene).max() < 12
    assert found.std() == pytest.approx(scene.std(), rel=0.03)


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_saturated_colors_survive(tmp_path: Path, transfer: int) -> None:
    scene = np.asarray(quarters(160, 120) // 2, np.uint8)
    found = decode_clip(write_hdr(tmp_path / "a.mkv", hdr(scene, transfer), transfer)).frames.data[0]
    assert np.abs(found[30::60, 40::80].astype(int) - scene[30::60, 40::80]).max() < 16


def test_a_matrix_that_is_not_named_is_that_of_hdr(tmp_path: Path) -> None:
    scene = backdrop(120, 160)
    path = write_hdr(tmp_path / "a.mkv", hdr(scene, PQ), PQ, matrix=2)
    assert np.abs(decode_clip(path).frames.data[0].astype(int) - scene).mean() < 2


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_highlights_are_compressed_and_never_fall(transfer: int) -> None:
    """A gray ramp up to 1000 nits: it rises all the way to white, which 203 nits nearly are."""
    values = hdr(np.full((1, 1, 3), 255, np.uint8), transfer)
    ramp = np.concatenate(
        [hdr(np.full((1, 1, 3), 255, np.uint8), transfer, brighter=n / 203) for n in range(1001)]
    )
    encoded = np.asarray(np.rint(65535 * ramp.clip(0, 1)), np.uint16)
    gray = ToneMap(transfer, BT2020).to_sdr(encoded)
    assert values.shape == (1, 1, 3) and np.ptp(gray, axis=2).max() <= 1
    shades = gray[:, 0, 1].astype(int)
    assert (np.diff(shades) >= 0).all() and shades[0] == 0 and shades[-1] == 255
    assert 240 <= shades[203] <= 250 and shades[400] > shades[203]
    assert shades[100] == pytest.approx(255 * (100 / 203) ** (1 / 2.4), abs=1)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((352, 288), 5), ((720, 576), 5), ((640, 720), 1), ((1280, 536), 1), ((1920, 1080), 1)],
)
def test_untagged_video_is_read_by_its_size(size: tuple[int, int], expected: int) -> None:
    assert ColorCoding(2, 2, 2, is_rgb=False).colorspace_for(*size) == expected
    assert ColorCoding(BT601, 2, 2, is_rgb=False).colorspace_for(*size) is None
    assert ColorCoding(2, 2, 2, is_rgb=True).colorspace_for(*size) is None


def test_colors_that_nothing_here_can_show_are_named() -> None:
    for coding, name in (
        (ColorCoding(2, 2, 2, is_rgb=False, is_dolby_vision=True), "Dolby Vision profile 5"),
        (ColorCoding(14, PQ, BT2020, is_rgb=False), "ICtCp"),
        (ColorCoding(8, 2, 2, is_rgb=False), "YCgCo"),
    ):
        with pytest.raises(ValueError, match=name):
            coding.colorspace_for(1920, 1080)


def test_a_file_of_such_colors_is_refused_by_their_name(tmp_path: Path) -> None:
    path = write_hdr(tmp_path / "a.mkv", hdr(backdrop(96, 128), PQ), PQ, matrix=14)
    with pytest.raises(VideoUndecodable, match="colors coded as ICtCp"):
        decode_clip(path)


@pytest.mark.parametrize(
    ("size", "tagged", "is_bt709"),
    [((640, 360), None, False), ((1280, 720), None, True), ((1280, 720), "smpte170m", False)],
)
def test_a_green_image_keeps_its_green(
    *, tmp_path: Path, size: tuple[int, int], tagged: str | None, is_bt709: bool
) -> None:
    """The encoder here makes YUV by BT.601; read as BT.709, green turns darker and bluer."""
    options = {"x264-params": f"colormatrix={tagged}"} if tagged else {}
    green = np.full((size[1], size[0], 3), (40, 180, 60), np.uint8)
    found = decode_clip(write_clip(tmp_path / "a.mp4", [green] * 2, codec_options=options)).frames.data[0]
    shift = found.reshape(-1, 3).mean(0) - (40, 180, 60)
    assert bool(np.abs(shift).max() < 4) is not is_bt709
    assert bool(shift[1] < -4) is is_bt709


def test_a_large_photo_that_is_not_tagged_is_read_as_photos_are(tmp_path: Path) -> None:
    green = np.full((720, 1280, 3), (40, 180, 60), np.uint8)
    path = tmp_path / "a.heic"
    path.write_bytes(heif([item(coded(green))], {}))
    assert np.abs(decode_clip(path).frames.data.reshape(-1, 3).mean(0) - (40, 180, 60)).max() < 4
