"""What a JPEG file says of itself, read from its markers without decoding it (ITU-T T.81, annex B)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from deepfake_triton.contracts import MAX_JPEG_SEGMENTS
from deepfake_triton.errors import InvalidFrames

_START, _END, _START_OF_SCAN = 0xD8, 0xD9, 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""SOF0…SOF15; what is left out are tables."""
_WITH_LENGTH = frozenset((*range(0xC0, 0xD0), *range(0xDA, 0xF0), 0xFE))
"""Markers that a length follows; decoders look for the next marker behind any other."""
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
"""Not the stuffed bytes and restarts inside of scans, nor the padding before a marker."""


@dataclass(frozen=True)
class JpegHeader:
    """Width and height in px, and how many scans bring the picture: 1, or some 10 in a progressive file."""

    width: int
    height: int
    scans: int


def read_header(file: bytes) -> JpegHeader:
    """Walk over the markers of a JPEG file, in a time that is linear in its bytes.

    Raises InvalidFrames when it is none, or has more marker segments than any picture needs.
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


def _markers(file: bytes) -> Iterator[tuple[int, int]]:
    """Each marker up to the end of the picture, with the position of what follows it."""
    if file[:2] != bytes((0xFF, _START)):
        return
    position, found = 2, 0
    while (match := _MARKER.search(file, position)) is not None and match[1][0] != _END:
        found += 1
        if found > MAX_JPEG_SEGMENTS:
            raise InvalidFrames(
                f"encoded_frames: got a JPEG file of more than {MAX_JPEG_SEGMENTS} segments, "
                "at most that many; encode it anew"
            )
        marker, position = match[1][0], match.end()
        yield marker, position
        if marker in _WITH_LENGTH:
            position += max(2, int.from_bytes(file[position : position + 2], "big"))
