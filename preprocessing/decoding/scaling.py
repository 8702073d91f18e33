"""Convert decoded frames to the images that are sent: upright RGB, square pixels, at most 640 px long."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from av.video.reformatter import VideoReformatter

from deepfake_triton.arrays import Image
from deepfake_triton.contracts import MAX_FRAME_SIDE
from deepfake_triton.preprocessing.decoding.color import ColorCoding, ToneMap, read_color_coding
from deepfake_triton.preprocessing.decoding.decoded_frame import DecodedFrame
from deepfake_triton.preprocessing.decoding.deinterlace import Deinterlacer
from deepfake_triton.preprocessing.decoding.orientation import read_orientation


@dataclass(frozen=True)
class _Conversion:
    """Parameters of the conversion of frames of one size and color coding; `size` is (width, height)."""

    size: tuple[int, int]
    interpolation: str
    src_colorspace: int | None
    tone_map: ToneMap | None


class Scaler:
    """Converter of decoded frames to RGB images, each scaled by the size of its own frame.

    `pixel_aspect` is the width of a stored pixel over its height; images with a side over `max_side` px are
    scaled down to it. Interlaced frames are deinterlaced, and HDR is mapped to SDR.
    """

    def __init__(self, pixel_aspect: Fraction, max_side: int = MAX_FRAME_SIDE) -> None:
        self.pixel_aspect = pixel_aspect
        self.max_side = max_side
        self._deinterlacer = Deinterlacer()
        # One for all frames keeps its tables; that of a frame would make them anew.
        self._reformatter: Any = VideoReformatter()
        self._kind: tuple[tuple[int, int], Fraction, ColorCoding] | None = None
        self._conversion: _Conversion

    def to_rgb(self, decoded: DecodedFrame) -> Image:
        """Convert a frame of any pixel format to [H, W, 3] uint8 RGB.

        Raises av.error.FFmpegError or ValueError for a pixel format or color coding without a conversion.
        """
        frame = decoded.frame
        aspect = decoded.pixel_aspect or self.pixel_aspect
        kind = (frame.width, frame.height), aspect, read_color_coding(frame)
        if kind != self._kind:
            self._conversion, self._kind = self._choose_conversion(*kind), kind
        width, height = self._conversion.size
        tone_map = self._conversion.tone_map
        scaled = self._reformatter.reformat(
            self._deinterlacer.deinterlace(decoded),
            width,
            height,
            "rgb48le" if tone_map else "rgb24",
            interpolation=self._conversion.interpolation,
            src_colorspace=self._conversion.src_colorspace,
        ).to_ndarray()
        orientation = decoded.orientation or read_orientation(frame)
        return orientation.apply(tone_map.to_sdr(scaled) if tone_map else scaled)

    def _choose_conversion(
        self, stored_size: tuple[int, int], pixel_aspect: Fraction, coding: ColorCoding
    ) -> _Conversion:
        width, height = scaled_size(stored_size, pixel_aspect, self.max_side)
        shrinks = width < stored_size[0] or height < stored_size[1]
        return _Conversion(
            (width, height),
            "AREA" if shrinks else "BICUBIC",
            coding.colorspace_for(*stored_size),
            coding.tone_map(),
        )


def scaled_size(stored_size: tuple[int, int], pixel_aspect: Fraction, max_side: int) -> tuple[int, int]:
    """Return (width, height) with square pixels and a long side of at most `max_side` px, for a frame of
    `stored_size` (width, height) before it is turned upright; it is enlarged only to square pixels."""
    one = Fraction(1)
    width, height = stored_size[0] * max(pixel_aspect, one), stored_size[1] * max(1 / pixel_aspect, one)
    scale = min(one, Fraction(max_side) / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))
