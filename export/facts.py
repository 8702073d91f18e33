"""What a checkpoint's weights do not say by themselves: crops, channel order, time, pooling, labels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args

from deepfake_triton.errors import CheckpointError
from deepfake_triton.preprocessing.crops import CropRule

Temporal = Literal["per-frame", "sequence"]
Pooling = Literal["last", "mean"]
LabelOrder = Literal["fake-real", "real-fake"]
ChannelOrder = Literal["bgr", "rgb"]

_CHOICES: dict[str, tuple[str, ...]] = {
    "temporal": get_args(Temporal),
    "pooling": get_args(Pooling),
    "label_order": get_args(LabelOrder),
    "channel_order": get_args(ChannelOrder),
}
REQUIRED_METADATA = (*_CHOICES, "crop_side")


@dataclass(frozen=True)
class ModelFacts:
    """The facts of one checkpoint; the defaults are those of the published ResNeXt+LSTM code.

    `mean` and `std` apply to channels in `channel_order`, after scaling to 0…1. The probability of FAKE is
    the softmax of `calibration_scale` × logits, with `calibration_shift` added to FAKE's.
    """

    temporal: Temporal = "per-frame"
    pooling: Pooling = "last"
    label_order: LabelOrder = "fake-real"
    channel_order: ChannelOrder = "bgr"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    crop_side: int = 112
    crop_margin: float = 0.0
    calibration_scale: float = 1.0
    calibration_shift: float = 0.0
    operating_points: Mapping[str, float] = field(default_factory=lambda: {"default": 0.5})

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            _require(getattr(self, name) in choices, name, getattr(self, name), " or ".join(choices))
        side, scale, shift = self.crop_side, self.calibration_scale, self.calibration_shift
        _require(
            isinstance(side, int) and 32 <= side <= 512, "crop_side", side, "a whole number in 32…512 px"
        )
        _require(_within(self.crop_margin, 0, 2), "crop_margin", self.crop_margin, "0…2 box sides")
        _require(_within(scale, 1e-3, 1e3), "calibration_scale", scale, "a factor over 0")
        _require(_within(shift, -100, 100), "calibration_shift", shift, "a number of logits")
        _require(_are_three(self.mean, -10, 10), "mean", self.mean, "three numbers")
        _require(_are_three(self.std, 1e-3, 1e3), "std", self.std, "three numbers over 0")
        points = self.operating_points
        valid = isinstance(points, Mapping) and all(_within(point, 0, 1) for point in points.values())
        _require(valid, "operating_points", points, "names with probabilities")

    @property
    def crop_rule(self) -> CropRule:
        """How faces are cut for this checkpoint."""
        return CropRule(self.crop_side, self.crop_margin)

    def overridden(self, changes: Mapping[str, Any]) -> ModelFacts:
        """The same facts but for those `changes` that are not None."""
        return replace(self, **{name: value for name, value in changes.items() if value is not None})


def facts_from_metadata(metadata: Mapping[str, Any]) -> ModelFacts:
    """Read the facts that travel with a checkpoint of this project's own training.

    Values are what `ModelFacts` holds, as themselves or as JSON text (safetensors stores text only); other
    keys are ignored. Raises CheckpointError when one is missing or makes no sense.
    """
    missing = [name for name in REQUIRED_METADATA if name not in metadata]
    if missing:
        raise CheckpointError(
            f"metadata: {', '.join(missing)} missing; got {', '.join(sorted(metadata)) or 'nothing'}"
        )
    known = {entry.name for entry in fields(ModelFacts)}
    values = {name: _plain(value) for name, value in metadata.items() if name in known}
    try:
        return ModelFacts(**values)
    except (TypeError, AttributeError) as error:
        raise CheckpointError(f"metadata: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            return value
    return tuple(value) if isinstance(value, list) else value


def _within(value: object, low: float, high: float) -> bool:
    return isinstance(value, int | float) and low <= value <= high  # NaN is within nothing


def _are_three(values: object, low: float, high: float) -> bool:
    return isinstance(values, tuple) and len(values) == 3 and all(_within(v, low, high) for v in values)


def _require(holds: bool, name: str, got: object, expected: str) -> None:
    if not holds:
        raise CheckpointError(f"{name}: got {got!r}, expected {expected}")


PUBLISHED = ModelFacts()
