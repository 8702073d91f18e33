"""Throughput of one network under several runtimes, by precision and batch size."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake_triton.benchmarks.measure.timing import Timing, interleave
from deepfake_triton.errors import DeepfakeError
from deepfake_triton.json_object import JsonObject

if TYPE_CHECKING:
    from deepfake_triton.benchmarks.measure.device_runtimes import Precision, RunnerFactory
    from deepfake_triton.benchmarks.measure.networks import Network
    from deepfake_triton.models.runtimes.base import Runner

MAX_DIFFERENCE = {"fp32": 0.01, "fp16": 0.05}
"""Maximum difference by precision, as a fraction of the largest value; FP32 may be multiplied in TF32."""
_WARM_UP = 3
_MAX_REASON_CHARACTERS = 300


@dataclass(frozen=True)
class TimedRow:
    """Times of one runtime at one precision and batch size, from array to array with the copies between."""

    runtime: str
    precision: str
    batch: int
    difference: float
    """Difference from torch eager in FP32, as by `Network.difference`."""
    rows_per_second: float
    timing: Timing

    def to_json(self) -> JsonObject:
        """Return the JSON form."""
        return {
            "runtime": self.runtime,
            "precision": self.precision,
            "batch": self.batch,
            "difference": self.difference,
            "rows_a_second": self.rows_per_second,
            **self.timing.to_json(),
        }


@dataclass(frozen=True)
class UntimedRow:
    """Why a runtime has no times, at one batch size or (None) at all of them."""

    runtime: str
    precision: str
    reason: str
    batch: int | None = None

    def to_json(self) -> JsonObject:
        """Return the JSON form."""
        batch = {} if self.batch is None else {"batch": self.batch}
        return {"runtime": self.runtime, "precision": self.precision, **batch, "reason": self.reason}


Row = TimedRow | UntimedRow


def row_from_json(data: Mapping[str, Any]) -> Row:
    """Read the JSON form of either kind."""
    if "reason" in data:
        return UntimedRow(data["runtime"], data["precision"], data["reason"], data.get("batch"))
    return TimedRow(
        runtime=data["runtime"],
        precision=data["precision"],
        batch=data["batch"],
        difference=data["difference"],
        rows_per_second=data["rows_a_second"],
        timing=Timing.from_json(data),
    )


def measure_network(
    network: Network,
    reference: Runner,
    factories: Mapping[str, RunnerFactory],
    *,
    precisions: Sequence[Precision],
    batches: Sequence[int],
    rounds: int,
) -> Iterator[Row]:
    """Yield a row for each runtime, precision and batch size.

    A runtime whose answers differ from those of `reference`, torch in FP32, gets no times.
    """
    with tempfile.TemporaryDirectory(prefix="deepfake-triton-bench-") as folder:
        for precision in precisions:
            runners: dict[str, Runner] = {}
            for name, factory in factories.items():
                try:
                    runners[name] = factory(network, precision, Path(folder))
                except (DeepfakeError, RuntimeError) as error:
                    yield UntimedRow(name, precision, _one_line(error))
            for batch in batches:
                yield from _measure_batch(
                    network, reference, runners, precision=precision, batch=batch, rounds=rounds
                )


def _measure_batch(
    network: Network,
    reference: Runner,
    runners: Mapping[str, Runner],
    *,
    precision: Precision,
    batch: int,
    rounds: int,
) -> Iterator[Row]:
    feed = network.feed(batch)
    expected = reference.infer(feed)
    differences: dict[str, float] = {}
    for name, runner in runners.items():
        try:
            difference = network.difference(runner.infer(feed), expected)
        except (DeepfakeError, RuntimeError) as error:
            yield UntimedRow(name, precision, _one_line(error), batch)
            continue
        if difference <= MAX_DIFFERENCE[precision]:
            differences[name] = difference
        else:  # also NaN
            reason = f"answers differ by {difference:.3f} of the largest value"
            yield UntimedRow(name, precision, reason, batch)
    if not differences:
        return
    calls = {name: partial(runners[name].infer, feed) for name in differences}
    for name, timing in interleave(calls, rounds=rounds, warm_up=_WARM_UP).items():
        yield TimedRow(
            runtime=name,
            precision=precision,
            batch=batch,
            difference=round(differences[name], 6),
            rows_per_second=round(1000 * batch / timing.median_ms, 1),
            timing=timing,
        )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:_MAX_REASON_CHARACTERS]
