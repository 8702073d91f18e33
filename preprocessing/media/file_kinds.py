"""Describe files that are no videos, for messages."""

from __future__ import annotations

import codecs
import re
from typing import BinaryIO

_HEAD_BYTES = 512
_KINDS = (
    (rb"%PDF-", "a PDF document"),
    (rb"PK(\x03\x04|\x05\x06)", "a ZIP archive or an Office document"),
    (rb"\x1f\x8b", "a gzip archive"),
    (rb"BZh[1-9]", "a bzip2 archive"),
    (rb"\xfd7zXZ\0", "an XZ archive"),
    (rb"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (rb"Rar!\x1a\x07", "a RAR archive"),
    (rb"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (rb".{257}ustar", "a tar archive"),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document"),
    (rb"8BPS", "a Photoshop image"),
    (rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image; convert it to JPEG"),
    (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", "a JPEG 2000 image; convert it to JPEG"),
    (rb"MZ|\x7fELF", "a program"),
    (rb"SQLite format 3\0", "a database"),
    (rb"version https://git-lfs", "a pointer of Git LFS; fetch the file itself with 'git lfs pull'"),
    (rb"(\xef\xbb\xbf)?\s*#EXTM3U", "a playlist, which names videos and holds none"),
    (rb"(\xef\xbb\xbf)?\s*(<!doctype html|<html|<head|<body)", "a web page, not the video on it"),
    (rb"(\xef\xbb\xbf)?\s*(<svg|<\?xml[^>]*>.{0,200}<svg)", "an SVG drawing; convert it to PNG"),
    (rb"(\xef\xbb\xbf)?\s*<\?xml", "an XML document"),
    (rb"(\xef\xbb\xbf)?\s*[{\[]\s*[\"{\[\]}]", "JSON text"),
)


def describe_kind(file: BinaryIO) -> str | None:
    """Describe the kind of a file by its first bytes; None for an unknown one.

    Leaves the position at the start.
    """
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    for magic, kind in _KINDS:
        if re.match(magic, head, re.DOTALL | re.IGNORECASE):
            return kind
    return "text" if head and _is_text(head) else None


def _is_text(head: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # the last character may be cut
    except UnicodeDecodeError:
        return False
    return not re.search(r"[\0-\x08\x0e-\x1a\x1c-\x1f\x7f]", text)
