"""H.264 and JPEG round trips in memory: compression artifacts for training."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import cv2
import numpy as np

from deepfake_triton.arrays import Frames, Image

MACROBLOCK_PX = 16
_SHIFT_PX = 2  # a whole pixel of the halved color planes too


def has_h264() -> bool:
    """Tell whether PyAV, and with it x264, is installed."""
    try:
        import av
    except ImportError:
        return False
    return "libx264" in av.codecs_available


def h264_round_trip(frames: Frames | Sequence[Image], crf: int, preset: str = "veryfast") -> Frames:
    """Encode and decode `frames` [T, H, W, 3] uint8 RGB with H.264 4:2:0 at a constant rate factor.

    `crf` is in 0…51, 51 being the worst. Odd sides are padded for the codec and cropped again.
    """
    import av

    stacked = np.stack(list(frames))
    height, width = stacked.shape[1:3]
    padded = np.pad(stacked, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    sources = [av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24") for image in padded]
    decoded = _encode_and_decode(sources, crf, preset)
    out = np.stack([frame.to_ndarray(format="rgb24") for frame in decoded])
    return np.asarray(out[:, :height, :width])


def h264_round_trip_stills(images: Sequence[Image], crf: int) -> list[Image]:
    """Compress single images [H, W, 3] uint8 RGB as frames from the middle of a video.

    They share one rate factor and one mosaic, so that the codec starts only once. Each is the second frame of
    a clip that moves by two pixels, so that it is predicted from its predecessor as most frames of a video
    are.
    """
    import av

    corners, size = _place_tiles([(image.shape[0], image.shape[1]) for image in images])
    mosaic = np.zeros((*size, 3), np.uint8)
    for (top, left), image in zip(corners, images, strict=True):
        below, right = (_tile_px(side) - side for side in image.shape[:2])
        tile = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE)
        mosaic[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    after = av.VideoFrame.from_ndarray(mosaic, format="rgb24").reformat(format="yuv420p")
    planes = after.to_ndarray().reshape(-1)
    before = np.empty_like(planes)
    start = 0
    for part, shift in ((1, _SHIFT_PX), (2, _SHIFT_PX // 2), (2, _SHIFT_PX // 2)):
        shape = size[0] // part, size[1] // part
        plane = planes[start : start + shape[0] * shape[1]].reshape(shape)
        before[start : start + plane.size] = np.roll(plane, (shift, shift), axis=(0, 1)).reshape(-1)
        start += plane.size
    first = av.VideoFrame.from_ndarray(before.reshape(-1, size[1]), format="yuv420p")
    out = _encode_and_decode([first, after], crf)[1].to_ndarray(format="rgb24")
    return [
        out[top : top + image.shape[0], left : left + image.shape[1]]
        for (top, left), image in zip(corners, images, strict=True)
    ]


def _encode_and_decode(frames: Sequence[Any], crf: int, preset: str = "veryfast") -> list[Any]:
    """Send PyAV's frames, of even sides, through H.264 at 25 frames a second."""
    import av

    encoder: Any = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width = frames[0].height, frames[0].width
    encoder.pix_fmt, encoder.time_base, encoder.framerate = "yuv420p", Fraction(1, 25), Fraction(25)
    encoder.options = {"crf": str(crf), "preset": preset, "threads": "1", "tune": "zerolatency"}
    decoder: Any = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    packets = []
    for index, frame in enumerate(frames):
        frame.pts = index
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    packets.append(None)
    return [frame for packet in packets for frame in decoder.decode(packet)]


def _tile_px(side: int) -> int:
    """Return the side of an image in the mosaic: whole macroblocks, with room for the motion."""
    return -(-(side + _SHIFT_PX) // MACROBLOCK_PX) * MACROBLOCK_PX


def _place_tiles(sizes: Sequence[tuple[int, int]]) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """Place images of `sizes` (H, W) in rows, the tallest first; return their corners and the whole size."""
    tiles = [(_tile_px(height), _tile_px(width)) for height, width in sizes]
    widest = max(width for _, width in tiles)
    width = max(widest, int(sum(height * width for height, width in tiles) ** 0.5) + widest // 2)
    corners = [(0, 0)] * len(tiles)
    top = left = row = used = 0
    for index in sorted(range(len(tiles)), key=lambda index: -tiles[index][0]):
        if left and left + tiles[index][1] > width:
            top, left, row = top + row, 0, 0
        corners[index] = (top, left)
        left += tiles[index][1]
        row, used = max(row, tiles[index][0]), max(used, left)
    return corners, (top + row, used)


def jpeg_round_trip(image: Image, quality: int) -> Image:
    """Encode and decode `image` [H, W, 3] uint8 RGB as JPEG at a quality of 1…100."""
    ok, data = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert ok
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, ::-1])
