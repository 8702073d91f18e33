"""Probe containers by their own framing, without decoding anything."""

from __future__ import annotations

import re
from typing import BinaryIO

# Top-level boxes of an ISO base media file (ISO/IEC 14496-12) or a QuickTime movie; tools append others.
_BOXES = {
    *(b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"mfra", b"sidx", b"meta", b"uuid"),
    *(b"free", b"skip", b"wide", b"pnot", b"emsg", b"prft"),
}

_IMAGE_FORMATS = (
    (rb"\xff\xd8\xff", "jpeg_pipe"),
    (rb"RIFF....WEBP", "webp_pipe"),
    (rb"BM", "bmp_pipe"),
    (rb"II\*\0|MM\0\*", "tiff_pipe"),
    (rb"\x89PNG", "png_pipe"),
)
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_ENCRYPTION = (
    bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e"),
    bytes.fromhex("14e68a292226174cb935dae07ee9289c"),
    bytes.fromhex("338505438169e6499b74ad12cb86d58c"),
)
"""The GUIDs of the Content Encryption Objects: plain, extended, advanced (ASF specification, 10.1)."""
_ASF_HEAD_BYTES = 1 << 16
_HEAD_BYTES = 32
_MAX_PNG_CHUNKS = 1000
_ANIMATED_WEBP = re.compile(rb"RIFF....WEBPVP8X.{4}(.)", re.DOTALL)
_ANIMATION_FLAG = 0x02


def image_format(file: BinaryIO) -> str | None:
    """Return FFmpeg's name for the format of a photo (…_pipe) or an animated image, by its bytes; else None.

    By itself FFmpeg goes by the file's name, and takes it for a pattern that may match further files.
    Leaves the position at the start.
    """
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    name = next((name for magic, name in _IMAGE_FORMATS if re.match(magic, head, re.DOTALL)), None)
    if name == "webp_pipe" and (header := _ANIMATED_WEBP.match(head)) and header[1][0] & _ANIMATION_FLAG:
        name = "webp_anim"
    if name == "png_pipe" and _png_is_animated(file):
        name = "apng"
    file.seek(0)
    return name


def _png_is_animated(file: BinaryIO) -> bool:
    """Return whether the chunk acTL comes before the pixels, at any distance: color profiles may be long."""
    position = 8
    for _ in range(_MAX_PNG_CHUNKS):
        file.seek(position)
        header = file.read(8)
        if len(header) < 8 or header[4:] == b"IDAT":
            return False
        if header[4:] == b"acTL":
            return True
        position += 12 + int.from_bytes(header[:4], "big")
    return False


def is_protected_asf(file: BinaryIO) -> bool:
    """Return whether a Windows Media file claims to be encrypted. Leaves the position as it is."""
    position = file.tell()
    file.seek(0)
    head = file.read(_ASF_HEAD_BYTES)
    file.seek(position)
    return head.startswith(_ASF_HEADER) and any(guid in head for guid in _ASF_ENCRYPTION)


def missing_tail_bytes(file: BinaryIO, size: int) -> int:
    """Return how many bytes are missing at the end of an MP4 or QuickTime file of `size` bytes.

    By the sizes of its top-level boxes; 0 for other formats. Reads a few bytes per box and leaves the
    position at the start.
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
    """Return whether the file starts like an MP4 or a QuickTime movie. Leaves the position at the start."""
    file.seek(0)
    kind = file.read(8)[4:8]
    file.seek(0)
    return kind in _BOXES
