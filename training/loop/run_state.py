"""State of a training run: what an interrupted run resumes from, and the training curve so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, TypedDict

from torch import Tensor

from deepfake_triton.json_object import JsonObject

CurveValue = str | int | float


class PhaseResult(TypedDict):
    """Stored result of a phase: the best averaged weights, and the losses since the last report."""

    step: int
    losses: list[float]
    lowest: float
    best: dict[str, Tensor]


class TrainerState(PhaseResult, total=False):
    """Stored state of a phase; an unfinished one also holds the weights, their average and the optimizer.

    Of these, a compact one holds the average alone, in half precision.

    The keys are those of the file `state.pt`.
    """

    model: dict[str, Tensor]
    average: dict[str, Tensor]
    optimiser: dict[str, Any]


@dataclass(frozen=True)
class CurvePoint:
    """One row of the training curve: mean training loss since the last one, validation loss and AUC.

    `strength` is that of the forgeries; None in the sequence phase.
    """

    phase: str
    step: int
    loss: float
    val_loss: float
    val_auc: float
    learning_rate: float
    strength: float | None = None

    def to_json(self) -> dict[str, CurveValue]:
        """Return the row of `curve.csv` and of the stored state."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> CurvePoint:
        """Read what `to_json` returned."""
        return cls(**stored)


CURVE_COLUMNS = tuple(column.name for column in fields(CurvePoint))


@dataclass(frozen=True)
class RunState:
    """Seed, curve and per-phase trainer states of a run; every step of training returns a new one.

    `seconds` of its time budget are used; 0 for a run without one.
    """

    seed: int
    curve: tuple[CurvePoint, ...] = ()
    phases: Mapping[str, TrainerState] = field(default_factory=dict)
    seconds: float = 0.0

    def with_point(self, point: CurvePoint) -> RunState:
        """Return a copy with one more point on the curve."""
        return replace(self, curve=(*self.curve, point))

    def with_phase(self, phase: str, trainer: TrainerState) -> RunState:
        """Return a copy that holds the trainer state of a phase."""
        return replace(self, phases={**self.phases, phase: trainer})

    def without_curve_of(self, phase: str) -> RunState:
        """Return a copy whose curve has no point of a phase, for one that starts over."""
        return replace(self, curve=tuple(point for point in self.curve if point.phase != phase))

    def last_point(self, phase: str) -> CurvePoint | None:
        """Return the latest point of a phase, None before its first report."""
        return next((point for point in reversed(self.curve) if point.phase == phase), None)

    def to_stored(self) -> JsonObject:
        """Return the content of `state.pt`: plain values and tensors only."""
        seconds = {"seconds": self.seconds} if self.seconds else {}
        curve = [point.to_json() for point in self.curve]
        return {"seed": self.seed, "curve": curve, **seconds, **self.phases}

    @classmethod
    def from_stored(cls, stored: Mapping[str, Any]) -> RunState:
        """Read what `to_stored` returned."""
        phases = {name: value for name, value in stored.items() if name not in ("seed", "curve", "seconds")}
        curve = tuple(CurvePoint.from_json(row) for row in stored["curve"])
        return cls(int(stored["seed"]), curve, phases, float(stored.get("seconds", 0.0)))
