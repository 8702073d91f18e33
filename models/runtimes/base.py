"""The `Runner` protocol: whatever runs a graph takes named arrays and returns named arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy.typing as npt

Feed = Mapping[str, npt.NDArray[Any]]
"""Arrays by tensor name."""


class Runner(Protocol):
    """One graph that is ready to run."""

    @property
    def runtime(self) -> str:
        """Name and version for reports, such as `ONNX Runtime 1.24.1, CPUExecutionProvider`."""
        ...

    def infer(self, feed: Feed) -> Feed:
        """Return the graph's outputs by name for its inputs by name."""
        ...
