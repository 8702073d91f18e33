"""Find further movies in an ISO base media file, fragmented or not (ISO/IEC 14496-12, 8.8)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from deepfake_triton.preprocessing.media.iso_boxes import Box, boxes


@dataclass
class _Segment:
    """The boxes from one `ftyp` to the next; first and last decoding time of each track, in ticks."""

    start: int
    has_index: bool = False
    has_samples: bool = False
    has_fragments: bool = False
    first_times: dict[int, int] = field(default_factory=dict)
    last_times: dict[int, int] = field(default_factory=dict)

    def is_new_movie(self, before: _Segment) -> bool:
        """Return whether another movie begins here; live streams repeat the header while times go on."""
        if not (self.has_index and before.has_index and before.has_samples):
            return False
        if not before.has_fragments:
            return True
        if not (self.first_times and before.last_times):
            return self.has_samples and not self.has_fragments
        tracks = self.first_times.keys() & before.last_times.keys()
        return any(self.first_times[track] <= before.last_times[track] for track in tracks)


def find_further_movies(file: BinaryIO, size: int) -> list[int]:
    """Return the offsets of further movies behind the first one in a file of `size` bytes."""
    starts: list[int] = []
    movie: _Segment | None = None
    for segment in _read_segments(file, size):
        if movie is None:
            movie = segment
        elif segment.is_new_movie(movie):
            starts.append(segment.start)
            movie = segment
        else:
            movie.has_index |= segment.has_index
            movie.has_samples |= segment.has_samples
            movie.has_fragments |= segment.has_fragments
            movie.last_times |= segment.last_times
    return starts


def _read_segments(file: BinaryIO, size: int) -> Iterator[_Segment]:
    segment, start = _Segment(0), 0
    for box in boxes(file, 0, size):
        if box.kind == b"ftyp" and start:
            yield segment
            segment = _Segment(start)
        elif box.kind == b"moov":
            segment.has_index = True
        elif box.kind == b"mdat":
            segment.has_samples = True
        elif box.kind == b"moof":
            segment.has_fragments = True
            for track, time in _read_decoding_times(file, box):
                segment.first_times.setdefault(track, time)
                segment.last_times[track] = time
        start = box.end
    yield segment


def _read_decoding_times(file: BinaryIO, fragment: Box) -> Iterator[tuple[int, int]]:
    """Yield the track (`tfhd`) and first decoding time in ticks (`tfdt`) of each run of samples."""
    for run in boxes(file, fragment.start, fragment.end):
        track = None
        for box in boxes(file, run.start, run.end) if run.kind == b"traf" else ():
            file.seek(box.start)
            payload = file.read(12)
            if box.kind == b"tfhd":
                track = int.from_bytes(payload[4:8], "big")
            elif box.kind == b"tfdt" and track is not None:
                yield track, int.from_bytes(payload[4:12] if payload[:1] == b"\x01" else payload[4:8], "big")
