"""Read the header of JPEG files from their markers, without decoding them (ITU-T T.81, annex B)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from deepfake_triton.contracts import MAX_JPEG_SEGMENTS
from deepfake_triton.errors import InvalidFrames

_START, _END, _START_OF_SCAN = 0xD8, 0xD9, 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""SOF0…SOF15, without the codes among them that mark tables."""
_WITH_LENGTH = frozenset((*range(0xC0, 0xD0), *range(0xDA, 0xF0), 0xFE))
"""Markers that are followed by a length; decoders search for the next marker behind any other."""
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
"""Excludes stuffed bytes and restarts inside scans, and the padding before a marker."""


@dataclass(frozen=True)
class JpegHeader:
    """Width and height in px, and the number of scans: 1, or about 10 in a progressive file."""

    width: int
    height: int
    scans: int


def read_header(file: bytes) -> JpegHeader:
    """Read size and scans from the markers of a JPEG file, in a time linear in its bytes.

    Raises InvalidFrames for anything else, and for more marker segments than any image needs.
    """
    size, scans = None, 0
    for marker, position in _markers(file):
        if marker in _FRAMES and size is None:
            height, width = (int.from_bytes(file[position + at : position + at + 2], "big") for at in (3, 5))
            size = (width, height)
        scans += marker == _START_OF_SCAN
    if size is None or 0 in size or not scans:
        raise InvalidFrames(f"encoded_frames: {len(file)} bytes that are no JPEG file")
    return JpegHeader(*size, scans)


def first_image_bytes(file: bytes) -> int:
    """Return the size in bytes of the first image in a JPEG file, which further ones may follow.

    Raises InvalidFrames as `read_header` does.
    """
    return next((position for marker, position in _markers(file) if marker == _END), len(file))


def header_segments(file: bytes | memoryview) -> Iterator[tuple[int, int, int]]:
    """Yield the segments before the pixels of a JPEG file: marker, start and end of the payload.

    Raises InvalidFrames as `read_header` does.
    """
    for marker, position in _markers(file):
        if marker in (_START_OF_SCAN, _END):
            return
        length = int.from_bytes(file[position : position + 2], "big") if marker in _WITH_LENGTH else 0
        yield marker, position + 2, position + length


def _markers(file: bytes | memoryview) -> Iterator[tuple[int, int]]:
    """Yield each marker up to the end of the image, with the position of what follows it."""
    if file[:2] != bytes((0xFF, _START)):
        return
    position, found = 2, 0
    while (match := _MARKER.search(file, position)) is not None:
        marker, position = match[1][0], match.end()
        found += marker != _END
        if found > MAX_JPEG_SEGMENTS:
            raise InvalidFrames(
                f"encoded_frames: got a JPEG file of more than {MAX_JPEG_SEGMENTS} segments, "
                "at most that many; encode it anew"
            )
        yield marker, position
        if marker == _END:
            return
        if marker in _WITH_LENGTH:
            position += max(2, int.from_bytes(file[position : position + 2], "big"))
