"""Stitch tiled HEIC and AVIF images, as phones write them (ISO/IEC 23008-12, 6.6.2.3)."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import av
import av.error
import numpy as np
import numpy.typing as npt

from deepfake_triton.contracts import MAX_STORED_PIXELS
from deepfake_triton.errors import VideoTooLarge, VideoUndecodable
from deepfake_triton.preprocessing.media.iso_boxes import Box, payload
from deepfake_triton.preprocessing.photos.heif import Item, PrimaryImage, read_item

_CODECS = {
    "hvc1": (("hevc",), b"hvcC"),
    "hev1": (("hevc",), b"hvcC"),
    "av01": (("libdav1d", "av1"), b"av1C"),
    "avc1": (("h264",), b"avcC"),
}
"""FFmpeg's decoders by the type of a tile, and the property that configures them."""
_LIMITED_RANGE, _FULL_RANGE = 1, 2
"""FFmpeg's AVCOL_RANGE_MPEG and AVCOL_RANGE_JPEG."""


@dataclass(frozen=True)
class Colors:
    """Color coding of samples in the code points of ITU-T H.273, as in FFmpeg; `full_range` as in JPEG."""

    primaries: int
    transfer: int
    matrix: int
    full_range: bool


@dataclass(frozen=True)
class Grid:
    """Rows and columns of tiles, and the image size in px; the last tiles may extend beyond it."""

    rows: int
    columns: int
    width: int
    height: int


def grid_from_item(data: bytes) -> Grid:
    """Read the payload of an item of type `grid`. Raises IndexError when it is cut."""
    size = 4 if data[1] & 1 else 2
    if len(data) < 4 + 2 * size:
        raise IndexError(len(data))
    width, height = (int.from_bytes(data[at : at + size], "big") for at in (4, 4 + size))
    return Grid(data[2] + 1, data[3] + 1, width, height)


def stitch_tiles(path: Path, file: BinaryIO, image: PrimaryImage) -> io.BytesIO:
    """Stitch a tiled image to a lossless video of one frame, in memory.

    Raises VideoTooLarge, or VideoUndecodable when tiles are missing, differ in size, or do not decode.
    """
    what = f"{path}: a tiled HEIC or AVIF image"
    try:
        grid = grid_from_item(read_item(file, image.item))
    except (IndexError, ValueError) as error:
        raise VideoUndecodable(f"{what} whose grid is damaged") from error
    if grid.width * grid.height > MAX_STORED_PIXELS:
        raise VideoTooLarge(f"{what} of {grid.width} × {grid.height} px, at most {MAX_STORED_PIXELS:,} px")
    if len(image.inputs) != grid.rows * grid.columns:
        raise VideoUndecodable(
            f"{what} with {len(image.inputs)} tiles, expected {grid.rows} × {grid.columns}; copy it again"
        )
    try:
        return _write_ffv1(*_paste_tiles(file, image, grid))
    except (av.error.FFmpegError, ValueError) as error:
        raise VideoUndecodable(f"{what} that cannot be put together ({error}); convert it to JPEG") from error


def _paste_tiles(file: BinaryIO, image: PrimaryImage, grid: Grid) -> tuple[Any, Colors]:
    """Decode the tiles into one frame. Raises ValueError for tiles that do not fit together."""
    canvas, shape, colors = None, None, None
    for index, tile in enumerate(image.inputs):
        frame, coded_colors = _decode_tile(file, tile)
        if canvas is None or colors is None:
            shape = (frame.width, frame.height, frame.format.name)
            _require_fit(grid, frame.width, frame.height)
            canvas = av.VideoFrame(grid.width, grid.height, frame.format.name.replace("yuvj", "yuv"))
            colors = _read_colors(file, (*image.item.properties, *tile.properties)) or coded_colors
        if (frame.width, frame.height, frame.format.name) != shape:
            raise ValueError("its tiles differ in size or format")
        row, column = divmod(index, grid.columns)
        _paste(canvas, frame, left=column * frame.width, top=row * frame.height)
    if canvas is None or colors is None:
        raise ValueError("it has no tiles")
    return canvas, colors


def _require_fit(grid: Grid, width: int, height: int) -> None:
    """Raise ValueError unless tiles of this size cover the image, and none lies outside of it."""
    if width * grid.columns < grid.width or height * grid.rows < grid.height:
        raise ValueError("its tiles leave gaps")
    if width * (grid.columns - 1) >= grid.width or height * (grid.rows - 1) >= grid.height:
        raise ValueError("its tiles lie outside of it")


def _decode_tile(file: BinaryIO, tile: Item) -> tuple[Any, Colors]:
    """Decode a coded item to a frame, with the color coding of its bitstream.

    Raises ValueError for an unknown kind, or when no frame comes out.
    """
    names, configuration = _CODECS.get(tile.kind, ((), b""))
    name = next((name for name in names if name in av.codecs_available), None)
    box = tile.property(configuration)
    if name is None or box is None:
        raise ValueError(f"a tile is of kind {tile.kind!r}, of which there is no decoder")
    context: Any = av.CodecContext.create(name, "r")
    context.extradata = payload(file, box)
    context.options = {"max_pixels": str(MAX_STORED_PIXELS)}
    frames = [*context.decode(av.Packet(read_item(file, tile))), *context.decode(None)]
    if not frames:
        raise ValueError("a tile is empty")
    full_range = frames[0].format.name.startswith("yuvj") or context.color_range == _FULL_RANGE
    return frames[0], Colors(context.color_primaries, context.color_trc, context.colorspace, full_range)


def _read_colors(file: BinaryIO, properties: Iterable[Box]) -> Colors | None:
    """Read the color coding of the file, which outranks the bitstream's (ISO/IEC 14496-12, 12.1.5)."""
    for box in properties:
        color = payload(file, box, 11) if box.kind == b"colr" else b""
        if color[:4] == b"nclx" and len(color) == 11:
            primaries, transfer, matrix = (int.from_bytes(color[at : at + 2], "big") for at in (4, 6, 8))
            return Colors(primaries, transfer, matrix, bool(color[10] & 0x80))
    return None


def _paste(canvas: Any, tile: Any, *, left: int, top: int) -> None:
    """Copy the samples of a tile, plane by plane, up to the edge of the canvas. Both formats are planar."""
    sample_bytes = 2 if tile.format.components[0].bits > 8 else 1
    for target, source in zip(canvas.planes, tile.planes, strict=True):
        # Chroma planes are narrower, and rounded up
        across, down = (round(tile.width / source.width), round(tile.height / source.height))
        to, origin = _samples(target, sample_bytes), _samples(source, sample_bytes)
        part = to[top // down :, left // across :]
        height, width = min(part.shape[0], source.height), min(part.shape[1], source.width)
        part[:height, :width] = origin[:height, :width]


def _samples(plane: Any, sample_bytes: int) -> npt.NDArray[Any]:
    """Return the samples [height, width] of a plane, without the padding of its rows."""
    rows: npt.NDArray[Any] = np.frombuffer(plane, np.uint8 if sample_bytes == 1 else np.uint16)
    return rows.reshape(plane.height, -1)[:, : plane.width]


def _write_ffv1(frame: Any, colors: Colors) -> io.BytesIO:
    """Write a frame as FFV1, which is lossless, in Matroska, which keeps the color coding."""
    file = io.BytesIO()
    color_range = _FULL_RANGE if colors.full_range else _LIMITED_RANGE
    with av.open(file, "w", format="matroska") as container:
        stream: Any = container.add_stream("ffv1", rate=1)
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, frame.format.name
        codec = stream.codec_context
        codec.color_primaries, codec.color_trc = colors.primaries, colors.transfer
        codec.colorspace = frame.colorspace = colors.matrix
        codec.color_range = frame.color_range = color_range
        frame.pts = 0
        container.mux([*stream.encode(frame), *stream.encode(None)])
    file.seek(0)
    return file
