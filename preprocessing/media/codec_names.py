"""Read the names of video codecs that FFmpeg does not know from a media file."""

from __future__ import annotations

import re
from typing import BinaryIO

_HEAD_BYTES = 1 << 16
_AVI_VIDEO = re.compile(rb"strh....vids(.{4}).*?strf.{20}(.{4})", re.DOTALL)
"""A stream header of type `vids`, its handler, and the compression in the BITMAPINFOHEADER behind it."""
_MATROSKA_VIDEO = re.compile(rb"\x86[\x80-\xff](V_[A-Za-z0-9/_.-]+)")
"""An element CodecID (RFC 9559, 5.1.4.1.21) of a video track."""
_ASF_VIDEO = re.compile(rb"\xc0\xef\x19\xbcM\x5b\xcf\x11\xa8\xfd\x00\x80\x5f\x5cD\x2b.{65}(.{4})", re.DOTALL)
"""The type of a video stream in its Stream Properties Object, and the compression after it."""


def read_codec_names(file: BinaryIO) -> list[str]:
    """Read the video codecs of an AVI, Matroska or ASF file, in order of streams, as the file spells them.

    Leaves the position at the start. Other formats give an empty list.
    """
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    if head[:4] == b"RIFF":
        names = [handler.strip(b"\0 ") or kind for handler, kind in _AVI_VIDEO.findall(head)]
    elif head[:4] == b"\x1aE\xdf\xa3":
        names = _MATROSKA_VIDEO.findall(head)
    else:
        names = _ASF_VIDEO.findall(head)
    return [name.decode("latin-1").strip("\0 ") for name in names]
