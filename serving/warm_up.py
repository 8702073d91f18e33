"""What a graph computes before its model is ready, so that no client's request is the first of its shape.

OpenVINO compiles kernels for each shape that it meets. Frames keep their aspect ratio inside the detector, so
each one with another ratio is a new shape there; a batch is split into runs of few numbers of rows
(`GraphLimits.pieces`). ONNX Runtime's own kernels take any shape, and only their memory grows with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepfake_triton.contracts import DEFAULT_FRAMES, FRAMES, MAX_FRAME_SIDE, TYPICAL_FRAME_HW
from deepfake_triton.serving.graph_limits import Feed, GraphLimits

_LONG, _STEP = MAX_FRAME_SIDE, 64
"""A client's frames of 640 px, and the step at which the detector pads them: 32 px of its 320."""
_SHORT = range(3 * _STEP + _STEP // 2, _LONG - _STEP, _STEP)
COMPILED_FRAMES_HW = (
    *((short, _LONG) for short in _SHORT),
    *((_LONG, short) for short in _SHORT),
    (_LONG, _LONG),
)
"""Height and width of a frame in the middle of each step, from 3.3:1 to 1:3.3; the default detector sees all
frames of clients between these as one of them."""
USUAL_TRACKS = 1
"""Tracks of one run of the extractor or classifier: more of them cost nothing the first time."""


@dataclass(frozen=True)
class InputSpec:
    """An input of a graph: its `shape` has no batch dimension, and -1 where a size is free."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def typical_shape(self, frame_hw: tuple[int, int] = TYPICAL_FRAME_HW) -> tuple[int, ...]:
        """Return the shape for a frame of that height and width, or for a track through a clip."""
        sizes = iter(frame_hw if self.name == FRAMES.name else (DEFAULT_FRAMES,))
        return tuple(next(sizes, 1) if size < 0 else size for size in self.shape)

    def zeros(self, rows: int, frame_hw: tuple[int, int] = TYPICAL_FRAME_HW) -> np.ndarray[Any, Any]:
        """Return a batch of `rows` such frames or tracks."""
        return np.zeros((rows, *self.typical_shape(frame_hw)), self.dtype)


def warm_feeds(inputs: Sequence[InputSpec], limits: GraphLimits, *, compiles_shapes: bool) -> Iterator[Feed]:
    """Yield the runs, of zeros, that usual clips consist of on a CPU, each shape once.

    Without `compiles_shapes` a runtime gets frames of one size, and no tracks: Triton's own warm-up, of one
    crop, is enough for it.
    """
    is_detector = any(spec.name == FRAMES.name for spec in inputs)
    if not is_detector and not compiles_shapes:
        return
    sizes_hw = COMPILED_FRAMES_HW if is_detector and compiles_shapes else (TYPICAL_FRAME_HW,)
    rows_of_clip = DEFAULT_FRAMES if is_detector else USUAL_TRACKS
    for size_hw in sizes_hw:
        batch = [spec.zeros(rows_of_clip, size_hw) for spec in inputs]
        for count in sorted({rows.stop - rows.start for rows in _runs(batch, limits)}):
            yield [tensor[:count] for tensor in batch]


def _runs(batch: Feed, limits: GraphLimits) -> Iterable[slice]:
    """Return the rows of each run of a batch."""
    return limits.pieces(batch) if limits.splits_batches else [slice(0, len(batch[0]))]
