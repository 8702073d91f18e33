"""A graph on a GPU: one session for each number of rows, fed from page-locked memory.

ONNX Runtime plans each convolution anew whenever the shape of its input is not the last one's: with batches
that alternate between one and two clips, that takes longer than computing them. So a run is filled up to one
of few numbers of rows, and each of these has a session of its own, which keeps its plans.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy.typing as npt

from deepfake_triton.contracts import DEFAULT_FRAMES, FRAMES
from deepfake_triton.host.cuda import PinnedBuffer
from deepfake_triton.serving.graph_limits import Feed
from deepfake_triton.serving.warm_up import InputSpec

RUN_SCALE = 8
"""How many times the rows and elements of a CPU's run a GPU's may have."""
WARM_FRAMES, WARM_TRACKS = (DEFAULT_FRAMES, 2 * DEFAULT_FRAMES, 3 * DEFAULT_FRAMES), (1, 2, 3, 4, 6, 8)
"""Rows that are prepared before a model is ready: those of one to three clips, and of one to eight tracks."""

Array = npt.NDArray[Any]


class Session(Protocol):
    """What is used of onnxruntime.InferenceSession."""

    def run(self, output_names: Sequence[str], feed: dict[str, Array]) -> list[Array]:
        """Compute the named outputs."""


class GpuSessions:
    """Sessions of one batched graph by their number of rows: the `first` one, and more by `open_session`."""

    def __init__(
        self,
        first: Session,
        open_session: Callable[[], Session],
        *,
        inputs: Sequence[str],
        outputs: Sequence[str],
    ) -> None:
        self._spare: Session | None = first
        self._open_session = open_session
        self._inputs, self._outputs = tuple(inputs), tuple(outputs)
        self._sessions: dict[int, Session] = {}
        self._buffers = {name: PinnedBuffer() for name in self._inputs}

    def warm_up(self, inputs: Sequence[InputSpec]) -> None:
        """Compute the usual numbers of rows once, of zeros."""
        rows = WARM_FRAMES if FRAMES.name in self._inputs else WARM_TRACKS
        for count in rows:
            self.run([[spec.zeros(count) for spec in inputs]])

    def run(self, feeds: Sequence[Feed]) -> Feed:
        """Compute the outputs of all rows of all feeds in one run."""
        count = sum(len(feed[0]) for feed in feeds)
        size = padded_rows(count)
        session = self._sessions.get(size) or self._add_session(size)
        stacked = {
            name: _stack([feed[place] for feed in feeds], size, self._buffers[name])
            for place, name in enumerate(self._inputs)
        }
        return [result[:count] for result in session.run(self._outputs, stacked)]

    def _add_session(self, size: int) -> Session:
        session = self._sessions[size] = self._spare or self._open_session()
        self._spare = None
        return session


def padded_rows(rows: int) -> int:
    """Return the rows of the run that computes `rows`: a power of two, or three quarters of one."""
    power = 1 << max(0, rows - 1).bit_length()
    return 3 * power // 4 if power >= 4 and rows <= 3 * power // 4 else power


def _stack(parts: Sequence[Array], rows: int, buffer: PinnedBuffer) -> Array:
    """Copy parts below each other; rows beyond them repeat whatever was computed last."""
    stacked = buffer.array((rows, *parts[0].shape[1:]), parts[0].dtype)
    start = 0
    for part in parts:
        stacked[start : start + len(part)] = part
        start += len(part)
    return stacked
