"""Read the color coding of decoded frames, and map HDR to SDR."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import Type
from av.video.reformatter import ColorPrimaries, Colorspace, ColorTrc

from deepfake_triton.arrays import Image

_BT709, _UNSPECIFIED, _RESERVED, _BT2020, _BT2020_CONSTANT = 1, 2, 3, 9, 10
"""Matrix coefficients by ITU-T H.273, table 4."""
_UNSUPPORTED_MATRICES = {8: "YCgCo", 11: "SMPTE 2085", 14: "ICtCp", 15: "IPT-C2"}
_HDR = frozenset((int(ColorTrc.SMPTE2084), int(ColorTrc.ARIB_STD_B67)))
_DOLBY_VISION = (Type.DOVI_METADATA, Type.DOVI_RPU_BUFFER)

_REFERENCE_WHITE_NITS = 203.0
"""Diffuse white in HDR (ITU-R BT.2408), which becomes the white of SDR."""
_HLG_PEAK_NITS, _HLG_SYSTEM_GAMMA = 1000.0, 1.2
_DISPLAY_GAMMA = 2.4
"""Gamma of an SDR display (ITU-R BT.1886)."""
_SHOULDER = 0.8
"""Linear light, relative to reference white, above which highlights are compressed instead of clipped."""

_BT2020_LUMINANCE = np.array([0.2627, 0.6780, 0.0593], np.float32)
_TO_BT709 = {
    # ITU-R BT.2087, and the same for the primaries of P3 with the white of BT.709
    int(ColorPrimaries.BT2020): (
        (1.660491, -0.587641, -0.072850),
        (-0.124550, 1.132900, -0.008349),
        (-0.018151, -0.100579, 1.118730),
    ),
    int(ColorPrimaries.SMPTE432): (
        (1.224940, -0.224940, 0.0),
        (-0.042057, 1.042057, 0.0),
        (-0.019638, -0.078636, 1.098274),
    ),
}
_GAMMA_STEPS = 1 << 14


@dataclass(frozen=True)
class ColorCoding:
    """Color coding of a frame: matrix, transfer and primaries by ITU-T H.273; no matrix applies if
    `is_rgb`."""

    matrix: int
    transfer: int
    primaries: int
    is_rgb: bool
    is_dolby_vision: bool = False

    def colorspace_for(self, stored_width: int, stored_height: int) -> int | None:
        """Return swscale's number of the matrix from YUV to RGB, None for the one that the frame names.

        Untagged frames are read as by players (mpv's rule): BT.709 for HD, BT.601 below. Raises ValueError
        for a matrix that swscale lacks.
        """
        if self.is_rgb:
            return None
        if self.is_dolby_vision and self.transfer == _UNSPECIFIED:
            raise ValueError("colors of Dolby Vision profile 5, which only its own players show")
        if self.matrix in _UNSUPPORTED_MATRICES:
            raise ValueError(f"colors coded as {_UNSUPPORTED_MATRICES[self.matrix]}")
        if self.matrix == _BT2020_CONSTANT:  # swscale has the other BT.2020 only, which is near
            return int(Colorspace.BT2020)
        if self.matrix not in (_UNSPECIFIED, _RESERVED):
            return None
        if self.transfer in _HDR or self.primaries == ColorPrimaries.BT2020:
            return int(Colorspace.BT2020)
        is_hd = stored_width >= 1280 or stored_height > 576
        return int(Colorspace.ITU709 if is_hd else Colorspace.ITU601)

    def tone_map(self) -> ToneMap | None:
        """Return the tone map for HDR frames, None for SDR."""
        if self.transfer not in _HDR:
            return None
        primaries = ColorPrimaries.BT2020 if self.primaries == _UNSPECIFIED else self.primaries
        return ToneMap(self.transfer, int(primaries))


def read_color_coding(frame: Any) -> ColorCoding:
    """Read the color tags of a decoded PyAV frame."""
    return ColorCoding(
        frame.colorspace,
        frame.color_trc,
        frame.color_primaries,
        frame.format.is_rgb,
        frame.color_trc == _UNSPECIFIED and _has_dolby_vision(frame),
    )


def tag_photo_matrix(frame: Any) -> None:
    """Tag an untagged HEIC or AVIF image with BT.601, whatever its size (ISO/IEC 23000-22), as in JPEG."""
    if frame.colorspace == _UNSPECIFIED and not frame.format.is_rgb:
        frame.colorspace = int(Colorspace.ITU601)


def _has_dolby_vision(frame: Any) -> bool:
    if frame.format.name != "yuv420p10le":
        return False
    try:
        return any(kind in frame.side_data for kind in _DOLBY_VISION)
    except ValueError:  # a type of side data that this PyAV does not know
        return False


class ToneMap:
    """Tone mapping of PQ or HLG images (SMPTE ST 2084, ITU-R BT.2100) to SDR of BT.709.

    It depends on no other pixel or frame: reference white (203 nits) becomes white, highlights above 80 % of
    it are compressed at constant hue, and colors outside of BT.709 are clipped.
    """

    def __init__(self, transfer: int, primaries: int) -> None:
        self._is_hlg = transfer == ColorTrc.ARIB_STD_B67
        self._light = _hlg_scene_light() if self._is_hlg else _pq_light()
        matrix = _TO_BT709.get(primaries)
        self._to_bt709 = None if matrix is None else np.array(matrix, np.float32).T

    def to_sdr(self, hdr: npt.NDArray[np.uint16]) -> Image:
        """Map [H, W, 3] uint16 RGB as transmitted, full range, to uint8 RGB for an SDR display."""
        light = self._light[hdr].reshape(-1, 3)
        if self._is_hlg:  # the display's own curve, which depends on luminance
            luminance = np.maximum(light @ _BT2020_LUMINANCE, 1e-6)
            peak = np.float32(_HLG_PEAK_NITS / _REFERENCE_WHITE_NITS)
            light *= (peak * luminance ** np.float32(_HLG_SYSTEM_GAMMA - 1))[:, None]
        if self._to_bt709 is not None:
            light = light @ self._to_bt709
        brightest = light.max(axis=1)
        bright = np.flatnonzero(brightest > _SHOULDER)
        if len(bright):
            peaks, room = brightest[bright], np.float32(1 - _SHOULDER)
            compressed = 1 - room * np.exp((_SHOULDER - peaks) / room)
            light[bright] *= (compressed / peaks)[:, None]
        np.clip(light, 0, 1, out=light)
        steps = (np.sqrt(light) * (_GAMMA_STEPS - 1) + 0.5).astype(np.uint16)
        return np.asarray(_display_values()[steps].reshape(hdr.shape), np.uint8)


def _code_values() -> npt.NDArray[np.float64]:
    return np.arange(1 << 16) / ((1 << 16) - 1)


@cache
def _pq_light() -> npt.NDArray[np.float32]:
    """Return the linear light, relative to reference white, of each 16-bit PQ value (ST 2084, eq. 4.1)."""
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    root = _code_values() ** (1 / m2)
    nits = 10_000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    return np.asarray(nits / _REFERENCE_WHITE_NITS, np.float32)


@cache
def _hlg_scene_light() -> npt.NDArray[np.float32]:
    """Return the scene light, 0…1, of each 16-bit HLG value (ITU-R BT.2100, table 5)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    value = _code_values()
    return np.asarray(np.where(value <= 0.5, value**2 / 3, (np.exp((value - c) / a) + b) / 12), np.float32)


@cache
def _display_values() -> npt.NDArray[np.uint8]:
    """Return 8-bit values by the square root of linear light, 0…1, which leaves enough steps for dark
    ones."""
    root = np.linspace(0, 1, _GAMMA_STEPS)
    return np.asarray(np.rint(255 * root ** (2 / _DISPLAY_GAMMA)), np.uint8)
