"""What a media file's own framing says, without decoding anything."""

from __future__ import annotations

import re
from typing import BinaryIO

# Top-level boxes of an ISO base media file (ISO/IEC 14496-12) or a QuickTime movie. What tools append
# beside them is no part of the film.
_BOXES = {
    *(b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"mfra", b"sidx", b"meta", b"uuid"),
    *(b"free", b"skip", b"wide", b"pnot", b"emsg", b"prft"),
}

_STILLS = {
    b"\xff\xd8\xff": "jpeg_pipe",
    b"RIFF....WEBP": "webp_pipe",
    b"BM": "bmp_pipe",
    b"II*\0": "tiff_pipe",
    b"MM\0*": "tiff_pipe",
}


def still_format(file: BinaryIO) -> str | None:
    """FFmpeg's name for the format of a photo, by its first bytes, or None for anything else.

    Left to itself FFmpeg goes by the file's name, and takes a name for a pattern that names further files.
    Leaves the position at the start.
    """
    file.seek(0)
    head = file.read(12)
    file.seek(0)
    for magic, name in _STILLS.items():
        if re.match(magic if name == "webp_pipe" else re.escape(magic), head, re.DOTALL):
            return name
    return None


def missing_tail_bytes(file: BinaryIO, size: int) -> int:
    """How many bytes an MP4 or QuickTime file of `size` bytes lacks at its end, by its boxes; else 0.

    A player notices a cut file only when it arrives at the cut; the sizes of the top-level boxes tell at
    once. Reads a few bytes a box and leaves the position at the start. Other formats give 0.
    """
    position = 0
    while position + 8 <= size:
        file.seek(position)
        header = file.read(16)
        length, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if kind not in _BOXES:
            break
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if length < 8:  # 0: this box reaches to the end of the file
            break
        position += length
    file.seek(0)
    return max(0, position - size)


def is_iso_media(file: BinaryIO) -> bool:
    """Whether the file opens like an MP4 or a QuickTime movie. Leaves the position at the start."""
    file.seek(0)
    kind = file.read(8)[4:8]
    file.seek(0)
    return kind in _BOXES
