"""Checkpoint metadata that weights do not carry: crops, channel order, time, pooling, labels, thresholds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, get_args

from deepfake_triton.errors import CheckpointError
from deepfake_triton.models.metadata_overrides import (
    ChannelOrder,
    LabelOrder,
    MetadataOverrides,
    Pooling,
    Temporal,
)
from deepfake_triton.preprocessing.crops import CropRule

_CHOICES: dict[str, tuple[str, ...]] = {
    "temporal": get_args(Temporal),
    "pooling": get_args(Pooling),
    "label_order": get_args(LabelOrder),
    "channel_order": get_args(ChannelOrder),
}
REQUIRED_METADATA = (*_CHOICES, "crop_side")


@dataclass(frozen=True)
class ModelMetadata:
    """Metadata of one checkpoint; the defaults are those of the published ResNeXt+LSTM code.

    `mean` and `std` apply to channels in `channel_order`, after scaling to 0…1. `crop_side` is in px,
    `crop_margin` in box sides. The probability of FAKE is the softmax of `calibration_scale` × logits, with
    `calibration_shift` added to FAKE's (Platt scaling). `operating_points` are thresholds for FAKE by name,
    `real_at_most` the thresholds for REAL of those operating points that have two. Raises CheckpointError
    for a value out of range.
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
    real_at_most: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            _require(value in choices, name, value, expected=" or ".join(choices))
        side, scale, shift = self.crop_side, self.calibration_scale, self.calibration_shift
        valid = isinstance(side, int) and 32 <= side <= 512
        _require(valid, "crop_side", side, expected="a whole number in 32…512 px")
        _require(_within(self.crop_margin, 0, 2), "crop_margin", self.crop_margin, expected="0…2 box sides")
        _require(_within(scale, 1e-3, 1e3), "calibration_scale", scale, expected="a factor over 0")
        _require(_within(shift, -100, 100), "calibration_shift", shift, expected="a number of logits")
        _require(_are_three(self.mean, -10, 10), "mean", self.mean, expected="three numbers")
        _require(_are_three(self.std, 1e-3, 1e3), "std", self.std, expected="three numbers over 0")
        self._require_thresholds()

    def _require_thresholds(self) -> None:
        points, lower = self.operating_points, self.real_at_most
        valid = isinstance(points, Mapping) and all(_within(point, 0, 1) for point in points.values())
        _require(valid, "operating_points", points, expected="names with probabilities")
        valid = isinstance(lower, Mapping) and all(
            _within(threshold, 0, points.get(name, -1)) for name, threshold in lower.items()
        )
        expected = f"probabilities up to those of the operating points {dict(points)}"
        _require(valid, "real_at_most", lower, expected=expected)

    @property
    def crop_rule(self) -> CropRule:
        """Side and margin of the face crops that the extractor takes."""
        return CropRule(self.crop_side, self.crop_margin)

    def with_overrides(self, overrides: MetadataOverrides) -> ModelMetadata:
        """Return a copy with the overrides that are given."""
        return replace(self, **overrides.given())


def metadata_from_mapping(stored: Mapping[str, Any]) -> ModelMetadata:
    """Parse the metadata stored with a checkpoint of this project's own training.

    Values are those of `ModelMetadata`, plain or as JSON text (safetensors stores text only); other keys are
    ignored. Raises CheckpointError when a required key is missing or a value is out of range.
    """
    missing = [name for name in REQUIRED_METADATA if name not in stored]
    if missing:
        raise CheckpointError(
            f"metadata: {', '.join(missing)} missing; got {', '.join(sorted(stored)) or 'nothing'}"
        )
    known = {entry.name for entry in fields(ModelMetadata)}
    values = {name: _parse(value) for name, value in stored.items() if name in known}
    try:
        return ModelMetadata(**values)
    except (TypeError, AttributeError) as error:
        raise CheckpointError(f"metadata: {error}") from error


def _parse(value: Any) -> Any:
    """Return JSON text as its value, a list as a tuple, and anything else as it is."""
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


def _require(holds: bool, name: str, got: object, *, expected: str) -> None:
    if not holds:
        raise CheckpointError(f"{name}: got {got!r}, expected {expected}")


PUBLISHED = ModelMetadata()
"""Metadata of the published ResNeXt+LSTM checkpoints, whose files carry none."""
