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

_STILLS = (
    (rb"\xff\xd8\xff", "jpeg_pipe"),
    (rb"RIFF....WEBP", "webp_pipe"),
    (rb"BM", "bmp_pipe"),
    (rb"II\*\0|MM\0\*", "tiff_pipe"),
    (rb"\x89PNG(?!.*acTL)", "png_pipe"),  # with that chunk it is animated
)
_HEAD_BYTES = 4096


def still_format(file: BinaryIO) -> str | None:
    """FFmpeg's name for the format of a photo, by its first bytes, or None for anything else.

    Left to itself FFmpeg goes by the file's name, and takes a name for a pattern that names further files.
    Leaves the position at the start.
    """
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    return next((name for magic, name in _STILLS if re.match(magic, head, re.DOTALL)), None)


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
