"""Read the orientation of photos from their EXIF data, without decoding them."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from deepfake_triton.errors import InvalidFrames
from deepfake_triton.preprocessing.decoding.orientation import Orientation, orientation_from_exif
from deepfake_triton.preprocessing.jpeg_markers import header_segments

PHOTO_CODECS = frozenset(("mjpeg", "png", "webp", "tiff"))
"""FFmpeg's names of codecs whose packets carry EXIF data."""

_APP1 = 0xE1
_EXIF = b"Exif\0\0"
_ORIENTATION, _SHORT = 0x0112, 3
_MAX_CHUNKS = 1000


def photo_orientation(photo: bytes | memoryview) -> Orientation | None:
    """Read the orientation of a JPEG, PNG, WebP or TIFF file from its EXIF data; None where it has none."""
    try:
        exif = next(exif_blocks(photo), None)
    except InvalidFrames:  # more segments than any JPEG needs
        return None
    value = None if exif is None else _orientation_tag(exif)
    return None if value is None else orientation_from_exif(value)


def exif_blocks(photo: bytes | memoryview) -> Iterator[bytes | memoryview]:
    """Yield the blocks of EXIF data in a photo, each laid out as a TIFF file (Exif 2.32, 4.5)."""
    head = bytes(photo[:12])
    if head[:2] == b"\xff\xd8":
        for marker, start, end in header_segments(photo):
            if marker == _APP1 and bytes(photo[start : start + 6]) == _EXIF:
                yield photo[start + 6 : end]
    elif head[:8] == b"\x89PNG\r\n\x1a\n":
        yield from _chunks(photo, 8, b"eXIf", layout=">I4s", sized_first=True)
    elif head[:4] == b"RIFF" and head[8:] == b"WEBP":
        for block in _chunks(photo, 12, b"EXIF", layout="<4sI", sized_first=False):
            yield block[6:] if bytes(block[:6]) == _EXIF else block
    elif head[:4] in (b"II*\0", b"MM\0*"):
        yield photo


def _chunks(
    photo: bytes | memoryview, start: int, wanted: bytes, *, layout: str, sized_first: bool
) -> Iterator[bytes | memoryview]:
    """Yield the chunks of one kind: of PNG, whose size comes first and a checksum last, or of RIFF."""
    for _ in range(_MAX_CHUNKS):
        if start + 8 > len(photo):
            return
        fields = struct.unpack(layout, photo[start : start + 8])
        size, kind = fields if sized_first else fields[::-1]
        if kind == wanted:
            yield photo[start + 8 : start + 8 + size]
        start += 8 + size + (4 if sized_first else size % 2)


def _orientation_tag(exif: bytes | memoryview) -> int | None:
    """Read the tag Orientation, 1…8, in the first directory of a TIFF file (TIFF 6.0, section 8)."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(exif[:2]))
    if order is None or len(exif) < 8:
        return None
    (start,) = struct.unpack(f"{order}I", exif[4:8])
    count = int.from_bytes(exif[start : start + 2], "little" if order == "<" else "big")
    for tag, kind, value in tiff_entries(exif[start + 2 : start + 2 + 12 * count], order):
        if tag == _ORIENTATION and kind == _SHORT and 1 <= value <= 8:
            return value
    return None


def tiff_entries(directory: bytes | memoryview, order: str) -> Iterator[tuple[int, int, int]]:
    """Yield tag, type, and value of each whole entry with a 16-bit value (TIFF 6.0, section 2)."""
    for at in range(0, len(directory) - 11, 12):
        tag, kind, value = struct.unpack(f"{order}HH4xH2x", directory[at : at + 12])
        yield tag, kind, value
