"""Walk the boxes of ISO base media files: MP4, QuickTime, HEIC, AVIF (ISO/IEC 14496-12 and 23008-12)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO

_MAX_BOXES = 100_000
"""Maximum number of siblings: bounds the time for a file of empty boxes."""
_SAMPLE_ENTRY_BYTES = 86
"""Size of a VisualSampleEntry up to the boxes in it, its own header included."""
_PROTECTED = {"encv": "Common Encryption", "drmi": "FairPlay"}


@dataclass(frozen=True)
class Box:
    """A box whose payload lies at [`start`, `end`) of the file."""

    kind: bytes
    start: int
    end: int


@dataclass(frozen=True)
class VideoTrack:
    """A video track of a movie: the FourCC of its samples, and the scheme that encrypts them."""

    track_id: int
    codec: str
    encryption: str | None


def boxes(file: BinaryIO, start: int, end: int) -> Iterator[Box]:
    """Yield the consecutive boxes in [`start`, `end`) of the file, as far as their sizes are plausible."""
    for _ in range(_MAX_BOXES):
        if start + 8 > end:
            return
        file.seek(start)
        header = file.read(16)
        length, header_bytes = int.from_bytes(header[:4], "big"), 8
        if length == 1:
            length, header_bytes = int.from_bytes(header[8:16], "big"), 16
        elif length == 0:
            length = end - start
        if length < header_bytes or len(header) < header_bytes:
            return
        yield Box(header[4:8], start + header_bytes, min(start + length, end))
        start += length


def descendant(file: BinaryIO, box: Box, *kinds: bytes) -> Box | None:
    """Return the first box on the path of `kinds` below `box`, None if there is none."""
    found: Box | None = box
    for kind in kinds:
        if found is None:
            return None
        found = next((child for child in boxes(file, found.start, found.end) if child.kind == kind), None)
    return found


def payload(file: BinaryIO, box: Box, limit: int = 1 << 20) -> bytes:
    """Read the payload of a box, at most `limit` bytes of it."""
    file.seek(box.start)
    return file.read(min(limit, box.end - box.start))


def video_tracks(file: BinaryIO, size: int) -> list[VideoTrack]:
    """Return the video tracks of a movie of `size` bytes, in order; none for a file of another format.

    Leaves the position at the start.
    """
    movie = next((box for box in boxes(file, 0, size) if box.kind == b"moov"), None)
    tracks = (
        [] if movie is None else [box for box in boxes(file, movie.start, movie.end) if box.kind == b"trak"]
    )
    found = [track for box in islice(tracks, 100) if (track := _read_video_track(file, box)) is not None]
    file.seek(0)
    return found


def _read_video_track(file: BinaryIO, box: Box) -> VideoTrack | None:
    header, handler = descendant(file, box, b"tkhd"), descendant(file, box, b"mdia", b"hdlr")
    samples = descendant(file, box, b"mdia", b"minf", b"stbl", b"stsd")
    if header is None or handler is None or samples is None or payload(file, handler, 12)[8:12] != b"vide":
        return None
    head = payload(file, header, 24)
    track_id = int.from_bytes(head[20:24] if head[:1] == b"\1" else head[12:16], "big")
    entries = [(entry.kind.decode("latin-1"), entry) for entry in boxes(file, samples.start + 8, samples.end)]
    if not entries:
        return None
    codec, entry = next((pair for pair in entries if pair[0] in _PROTECTED), entries[0])
    return VideoTrack(track_id, codec, _describe_encryption(file, codec, entry))


def _describe_encryption(file: BinaryIO, codec: str, entry: Box) -> str | None:
    """Describe the encryption of a protected sample entry (ISO/IEC 23001-7); None for one in the clear."""
    name = _PROTECTED.get(codec)
    inner = Box(entry.kind, entry.start - 8 + _SAMPLE_ENTRY_BYTES, entry.end)
    scheme = descendant(file, inner, b"sinf", b"schm")
    if name is None or scheme is None:
        return name
    return f"{name}, scheme {payload(file, scheme, 8)[4:8].decode('latin-1')!r}"
