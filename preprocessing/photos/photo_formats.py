"""Recognize photos that FFmpeg would take for something else."""

from __future__ import annotations

import re
import struct
from typing import BinaryIO

from deepfake_triton.errors import InvalidFrames
from deepfake_triton.preprocessing.jpeg_markers import first_image_bytes, read_header
from deepfake_triton.preprocessing.photos.exif import exif_blocks, tiff_entries

_MIN_STREAM_IMAGES = 3
"""Fewer consecutive JPEG images of one size are no video, but a photo with a gain map or the like."""
_PROBED_BYTES = 1 << 25
_MULTI_IMAGE = re.compile(rb"MPF\0|ns\.google\.com/photos|ns\.adobe\.com/hdr-gain-map")
"""Marks of a file whose first image is the photo (CIPA DC-007, Ultra HDR, motion photos)."""
_COMPRESSION, _JPEG_COMPRESSIONS, _DNG_VERSION = 0x0103, (6, 7), 0xC612


def is_jpeg_stream(file: BinaryIO) -> bool:
    """Return whether a file that starts as a JPEG is a raw Motion JPEG video.

    Leaves the position at the start.
    """
    file.seek(0)
    rest = file.read(_PROBED_BYTES)
    file.seek(0)
    if rest.count(b"\xff\xd8\xff") < _MIN_STREAM_IMAGES:
        return False
    sizes = set()
    exif = []
    for _ in range(_MIN_STREAM_IMAGES):
        try:
            length = first_image_bytes(rest)
            header = read_header(rest[:length])
        except InvalidFrames:
            return False
        sizes.add((header.width, header.height))
        exif.append(next(exif_blocks(rest[:length]), None) is not None)
        if len(sizes) > 1 or _MULTI_IMAGE.search(rest, 0, length):
            return False
        rest = rest[length:]
    return all(exif) or not exif[0]  # of a series of photos each has EXIF data; of one photo the first


def is_jpeg_tiff(file: BinaryIO) -> bool:
    """Return whether the first image of a TIFF file is a JPEG, which FFmpeg decodes to black; DNG is not.

    Leaves the position at the start.
    """
    file.seek(0)
    head = file.read(8)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(head[:4])
    entries: dict[int, int] = {}
    if order is not None and len(head) == 8:
        file.seek(struct.unpack(f"{order}I", head[4:])[0])
        count = int.from_bytes(file.read(2), "little" if order == "<" else "big")
        entries = {tag: value for tag, _, value in tiff_entries(file.read(12 * count), order)}
    file.seek(0)
    return entries.get(_COMPRESSION) in _JPEG_COMPRESSIONS and _DNG_VERSION not in entries
