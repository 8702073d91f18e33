"""Bounds on the memory that one request and one run of a graph may take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy.typing as npt

Feed = list[npt.NDArray[Any]]
"""The inputs of a graph; where it has a batch dimension, that is the first one."""


@dataclass(frozen=True)
class GraphLimits:
    """The most elements and rows of each input that one request and one run may hold; 0 means no limit."""

    request_elements: int = 0
    row_elements: int = 0
    run_elements: int = 0
    run_rows: int = 0

    def scaled(self, factor: int) -> GraphLimits:
        """Return limits that let a run hold `factor` times as much; those of a request stay."""
        return replace(self, run_elements=factor * self.run_elements, run_rows=factor * self.run_rows)

    def refusal(self, name: str, tensor: npt.NDArray[Any]) -> str | None:
        """Return why the input `name` is too large or empty; None where it is allowed."""
        if not tensor.size:  # some graphs end the process on one
            return f"{name}: got {list(tensor.shape)}, expected no side of 0"
        row = tensor.size // max(1, len(tensor)) if tensor.ndim else tensor.size
        for got, limit, unit in (
            (tensor.size, self.request_elements, "elements"),
            (row, self.row_elements, "elements for each row of the batch"),
        ):
            if limit and got > limit:
                return (
                    f"{name}: got {list(tensor.shape)}, {got} {unit}, at most {limit}; send fewer or smaller"
                )
        return None

    @property
    def splits_batches(self) -> bool:
        """Whether large batches are split into several runs."""
        return bool(self.run_elements or self.run_rows)

    def is_exceeded(self, tensors: Feed) -> bool:
        """Whether a single row is more than a run may hold; it is run nevertheless."""
        return bool(self.run_elements) and any(tensor[:1].size > self.run_elements for tensor in tensors)

    def max_rows(self, tensors: Feed) -> int:
        """Return the most rows of one run; at least one, however large it is."""
        row = max(max(1, tensor[:1].size) for tensor in tensors)
        bounds = (self.run_elements // row if self.run_elements else None, self.run_rows or None)
        return max(1, min(bound for bound in bounds if bound is not None))

    def pieces(self, tensors: Feed) -> Iterator[slice]:
        """Yield the rows of each run: powers of two, so that a runtime sees few different shapes."""
        limit, start, rows = self.max_rows(tensors), 0, len(tensors[0])
        if not rows:
            yield slice(0, 0)
        while start < rows:
            count = 1 << (min(limit, rows - start).bit_length() - 1)
            yield slice(start, start + count)
            start += count
