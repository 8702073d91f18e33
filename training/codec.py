"""What a codec leaves of pictures: H.264 and JPEG round trips in memory."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]

MACROBLOCK_PX = 16


def h264_round_trip(
    frames: npt.NDArray[np.uint8] | Sequence[Picture], crf: int, preset: str = "veryfast"
) -> npt.NDArray[np.uint8]:
    """`frames` [T, H, W, 3] uint8 RGB after H.264 in 4:2:0 at a constant rate factor (0…51, 51 is worst).

    Sides that are odd are padded for the codec, and cut again.
    """
    pictures = np.stack(list(frames))
    height, width = pictures.shape[1:3]
    padded = np.pad(pictures, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    encoder: Any = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width = padded.shape[1:3]
    encoder.pix_fmt, encoder.time_base, encoder.framerate = "yuv420p", Fraction(1, 25), Fraction(25)
    encoder.options = {"crf": str(crf), "preset": preset, "threads": "1", "tune": "zerolatency"}
    decoder: Any = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    packets = []
    for index, picture in enumerate(padded):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.pts = index
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    decoded = [frame for packet in packets for frame in decoder.decode(packet)] + decoder.decode(None)
    out = np.stack([frame.to_ndarray(format="rgb24") for frame in decoded])
    return np.asarray(out[:, :height, :width])


def h264_of_stills(pictures: Sequence[Picture], crf: int) -> list[Picture]:
    """Single pictures as they come out of the middle of a video, all at the same quality.

    They are laid on one mosaic, so that the codec starts once for all; each is the second frame of a clip
    that moves by two pixels, so that it was predicted as most frames of a video are.
    """
    columns = max(1, int(len(pictures) ** 0.5))
    rows = -(-len(pictures) // columns)
    tile = max(max(p.shape[:2]) for p in pictures) + 2
    tile = -(-tile // MACROBLOCK_PX) * MACROBLOCK_PX
    mosaic = np.zeros((rows * tile, columns * tile, 3), np.uint8)
    corners = [(tile * (i // columns), tile * (i % columns)) for i in range(len(pictures))]
    for (top, left), picture in zip(corners, pictures, strict=True):
        room = ((0, tile - picture.shape[0]), (0, tile - picture.shape[1]), (0, 0))
        mosaic[top : top + tile, left : left + tile] = np.pad(picture, room, mode="edge")
    before = np.roll(mosaic, (1, 2), axis=(0, 1))
    after = h264_round_trip([before, mosaic], crf)[1]
    return [
        after[top : top + picture.shape[0], left : left + picture.shape[1]]
        for (top, left), picture in zip(corners, pictures, strict=True)
    ]


def jpeg_round_trip(picture: Picture, quality: int) -> Picture:
    """`picture` [H, W, 3] uint8 RGB after JPEG at a quality of 1…100."""
    ok, data = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert ok
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, ::-1])
