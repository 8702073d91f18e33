"""Deinterlace frames that interleave two fields of different times."""

from __future__ import annotations

from typing import Any

import av.filter

from deepfake_triton.preprocessing.decoding.decoded_frame import DecodedFrame

_UNMARKED_CODECS = frozenset(
    (
        *("mjpeg", "mjpegb", "ljpeg", "jpeg2000", "png", "rawvideo", "v210", "v308", "v408", "v410"),
        *("huffyuv", "ffvhuff", "utvideo", "magicyuv", "lagarith", "cfhd", "hap", "vp8", "vp9", "av1"),
    )
)
"""FFmpeg's names of codecs whose frames are not marked as interlaced, or not reliably. Others may mix both
kinds: there the mark of each frame counts."""
_TOP_FIRST, _BOTTOM_FIRST = (2, 5), (3, 4)
"""FFmpeg's AVFieldOrder by the field that is displayed first, however they are stored."""


def stored_field_order(codec: Any) -> bool | None:
    """Return whether the top field is the earlier one, by what the file tells a PyAV codec context.

    None where the file does not say that all frames are interlaced, or where its frames say it themselves.
    PyAV before 18 does not read it.
    """
    order = getattr(codec, "field_order", 0) if codec.name in _UNMARKED_CODECS else 0
    return order in _TOP_FIRST if order in (*_TOP_FIRST, *_BOTTOM_FIRST) else None


class Deinterlacer:
    """FFmpeg's bwdif, which keeps frames and their number; progressive frames pass unchanged.

    The filter uses the frames before and after, so that what stands still keeps all of its lines.
    """

    def __init__(self) -> None:
        self._graph: Any = None
        self._pushed: Any = None

    def deinterlace(self, decoded: DecodedFrame) -> Any:
        """Return a progressive PyAV frame of the time of the first field. Raises av.error.FFmpegError."""
        frame = decoded.frame
        if not decoded.is_interlaced:
            self._graph = self._pushed = None
            return frame
        before, after = (
            neighbor if _has_same_format(frame, neighbor) else None
            for neighbor in (decoded.before, decoded.after)
        )
        if self._graph is None or self._pushed is not frame:
            self._graph = _build_graph(frame, decoded.top_field_first)
            if before is not None:
                self._graph.push(before)
            self._graph.push(frame)
            if before is not None:
                self._graph.pull()  # the frame before
            elif after is None:
                after = frame  # without neighbors a frame is filtered by its own lines, but not when alone
        self._graph.push(after)  # None ends the stream
        progressive = self._graph.pull()
        progressive.colorspace, progressive.color_range = frame.colorspace, frame.color_range
        self._pushed = after
        if after is None or after is frame:
            self._graph = None
        return progressive


def _has_same_format(one: Any, other: Any) -> bool:
    """Return whether one filter graph takes both frames."""
    return other is not None and (
        (one.width, one.height, one.format.name) == (other.width, other.height, other.format.name)
    )


def _build_graph(frame: Any, top_field_first: bool | None) -> Any:
    """Build a filter graph that follows the frames' own marks, or else the field order of the file."""
    parity, which = "auto", "interlaced"
    if top_field_first is not None and not frame.interlaced_frame:
        parity, which = "tff" if top_field_first else "bff", "all"
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
    )
    filter_ = graph.add("bwdif", f"mode=send_frame:parity={parity}:deint={which}")
    sink = graph.add("buffersink")
    source.link_to(filter_)
    filter_.link_to(sink)
    graph.configure()
    return graph
