"""Metadata that a caller names in place of what a checkpoint's file says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Temporal = Literal["per-frame", "sequence"]
Pooling = Literal["last", "mean"]
LabelOrder = Literal["fake-real", "real-fake"]
ChannelOrder = Literal["bgr", "rgb"]


@dataclass(frozen=True)
class MetadataOverrides:
    """Values that replace those of a checkpoint's metadata, as in `ModelMetadata`; None leaves a field."""

    temporal: Temporal | None = None
    pooling: Pooling | None = None
    label_order: LabelOrder | None = None
    channel_order: ChannelOrder | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    crop_side: int | None = None
    crop_margin: float | None = None
    calibration_scale: float | None = None
    calibration_shift: float | None = None
    operating_points: Mapping[str, float] | None = None
    real_at_most: Mapping[str, float] | None = None

    def given(self) -> dict[str, Any]:
        """Return the values that are not None, by field."""
        return {name: value for name, value in vars(self).items() if value is not None}


NO_OVERRIDES = MetadataOverrides()
