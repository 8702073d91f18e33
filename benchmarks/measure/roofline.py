"""The roofline model: the least time that a graph takes, by its operations and bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

COMPUTED_IN = {"fp32": "fp32", "fp16": "fp32", "int8": "int8"}
"""The precision that CPUs compute a graph of each precision in."""


@dataclass(frozen=True)
class GraphCost:
    """Cost of one call: operations, a multiplication with its addition counted as two, and bytes moved."""

    operations: int
    weight_bytes: int
    activation_bytes: int


@dataclass(frozen=True)
class MachineRates:
    """Measured rates: operations per second in matrix products by precision, bytes per second in memory."""

    operations_per_second: Mapping[str, float]
    bytes_per_second: float

    def compute_ms(self, cost: GraphCost, precision: str) -> float:
        """Return the least time that the operations of a graph take."""
        return 1000 * cost.operations / self.operations_per_second[COMPUTED_IN[precision]]

    def memory_ms(self, cost: GraphCost) -> float:
        """Return the least time that reading and writing the bytes of a graph takes."""
        return 1000 * (cost.weight_bytes + cost.activation_bytes) / self.bytes_per_second
