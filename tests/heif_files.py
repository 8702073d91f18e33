"""HEIC and AVIF files by construction: coded images from PyAV's encoders, the boxes around them by hand."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import pytest
from scheduling import scheduling_kept

from deepfake_triton.arrays import Image
from deepfake_triton.preprocessing.media.iso_boxes import Box, boxes, descendant, payload

ENCODERS = {"hvc1": "libx265", "av01": "libsvtav1"}
_CONFIGURATIONS = {"hvc1": b"hvcC", "av01": b"av1C"}
_ENTRY_HEADER = 78


@dataclass(frozen=True)
class CodedImage:
    """One coded image: the type of its item, its configuration box, its bytes, and its size."""

    kind: str
    configuration: bytes
    data: bytes
    width: int
    height: int


def box(kind: bytes, payload: bytes) -> bytes:
    """A box."""
    return struct.pack(">I4s", 8 + len(payload), kind) + payload


def full_box(kind: bytes, payload: bytes, *, version: int = 0, flags: int = 0) -> bytes:
    """A box with version and flags."""
    return box(kind, struct.pack(">I", version << 24 | flags) + payload)


def coded(image: Image, kind: str = "hvc1", pixel_format: str = "yuv420p") -> CodedImage:
    """Encode one RGB image as an item of type `hvc1` (HEVC) or `av01` (AV1)."""
    if ENCODERS[kind] not in av.codecs_available:
        pytest.skip(f"this PyAV has no encoder {ENCODERS[kind]}")
    file = io.BytesIO()
    with scheduling_kept(), av.open(file, "w", format="mp4") as container:
        options = {"x265-params": "log-level=none:crf=12"} if kind == "hvc1" else {"crf": "12"}
        stream: Any = container.add_stream(ENCODERS[kind], rate=25, options=options)
        stream.height, stream.width = image.shape[:2]
        stream.pix_fmt = pixel_format
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            packet.pts = packet.dts = 0  # libx265 leaves the latter of a single frame to chance
            container.mux(packet)
    whole = Box(b"", 0, len(file.getvalue()))
    table = (b"moov", b"trak", b"mdia", b"minf", b"stbl")
    samples = descendant(file, whole, *table, b"stsd")
    assert samples is not None
    entry = next(iter(boxes(file, samples.start + 8, samples.end)))
    inner = Box(entry.kind, entry.start + _ENTRY_HEADER, entry.end)
    configuration, media = descendant(file, inner, _CONFIGURATIONS[kind]), descendant(file, whole, b"mdat")
    assert configuration is not None and media is not None
    return CodedImage(
        kind,
        box(_CONFIGURATIONS[kind], payload(file, configuration)),
        payload(file, media),
        image.shape[1],
        image.shape[0],
    )


def heif(items: Sequence[tuple[str, bytes, Sequence[bytes]]], tiles_of: dict[int, Sequence[int]]) -> bytes:
    """A file of items (type, bytes, property boxes), numbered from 1, whose primary image is the first.

    `tiles_of` says which items one is derived from.
    """
    properties = [property_box for _, _, of_item in items for property_box in of_item]
    associations, next_index = b"", 1
    for number, (_, _, of_item) in enumerate(items, 1):
        indices = bytes(range(next_index, next_index + len(of_item)))
        associations += struct.pack(">HB", number, len(of_item)) + indices
        next_index += len(of_item)
    entries = b"".join(
        full_box(b"infe", struct.pack(">HH4sx", number, 0, kind.encode()), version=2)
        for number, (kind, _, _) in enumerate(items, 1)
    )
    references = b"".join(
        box(b"dimg", struct.pack(f">HH{len(numbers)}H", source, len(numbers), *numbers))
        for source, numbers in tiles_of.items()
    )

    def meta(media_start: int) -> bytes:
        places, at = b"", media_start
        for number, (_, data, _) in enumerate(items, 1):
            places += struct.pack(">HHHII", number, 0, 1, at, len(data))
            at += len(data)
        return full_box(
            b"meta",
            full_box(b"hdlr", struct.pack(">I4s13x", 0, b"pict"))
            + full_box(b"pitm", struct.pack(">H", 1))
            + full_box(b"iloc", struct.pack(">HH", 0x4400, len(items)) + places)
            + full_box(b"iinf", struct.pack(">H", len(items)) + entries)
            + (full_box(b"iref", references) if references else b"")
            + box(
                b"iprp",
                box(b"ipco", b"".join(properties))
                + full_box(b"ipma", struct.pack(">I", len(items)) + associations),
            ),
        )

    head = box(b"ftyp", struct.pack(">4sI", b"heic", 0) + b"mif1heic")
    media_start = len(head) + len(meta(0)) + 8
    return head + meta(media_start) + box(b"mdat", b"".join(data for _, data, _ in items))


def size_box(width: int, height: int) -> bytes:
    """The property that says how large an item is."""
    return full_box(b"ispe", struct.pack(">II", width, height))


def item(image: CodedImage, *more: bytes) -> tuple[str, bytes, list[bytes]]:
    """A coded image as an item of a file, with further property boxes."""
    return image.kind, image.data, [image.configuration, size_box(image.width, image.height), *more]


def grid(tiles: tuple[int, int], size: tuple[int, int], *more: bytes) -> tuple[str, bytes, list[bytes]]:
    """The item of an image of `size` (width, height) px, made of `tiles` (rows, columns)."""
    (rows, columns), (width, height) = tiles, size
    data = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height)
    return "grid", data, [size_box(width, height), *more]
