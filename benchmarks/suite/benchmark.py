"""The interface of a benchmark and of its result, and what tables and plots share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from deepfake_triton.json_object import JsonObject

SCHEMA_VERSION = 1
"""Of results; raised with every change that older readers misread; one without it is of version 1."""
BLUE, GRAY, RED = "#2c7fb8", "#9aa0a6", "#c0392b"


class Result(Protocol):
    """The frozen result of one benchmark; `from_json` of its class reads what `to_json` returns."""

    def to_json(self) -> JsonObject:
        """Return the JSON form."""
        ...

    def table(self) -> list[str]:
        """Return the lines of a Markdown table."""
        ...

    def plot(self, figure: Any) -> None:
        """Draw on a `matplotlib.figure.Figure` of 9 by 4.5 inches."""
        ...


@dataclass(frozen=True)
class Benchmark:
    """One subcommand of `bench`; benchmarks/options.py declares its options."""

    run: Callable[[argparse.Namespace], Result]
    result_from_json: Callable[[Mapping[str, Any]], Result]


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Return a Markdown table, a line for each row."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(str(cell) for cell in line)} |" for line in lines]
