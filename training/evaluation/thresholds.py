"""Check that an evaluation was made with the thresholds that a checkpoint has."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from math import isclose
from pathlib import Path

from deepfake_triton.errors import DatasetError
from deepfake_triton.operating_point import OperatingPoint, points_from_thresholds
from deepfake_triton.training.evaluation.results import Evaluation

_SAME = 1e-6


def require_same_thresholds(evaluated: Evaluation, metadata: Mapping[str, str], path: Path) -> None:
    """Raise DatasetError where a checkpoint's metadata have other operating points than its evaluation.

    An evaluation of an earlier release has FAKE thresholds alone, which are compared then; a checkpoint
    without any is not checked.
    """
    if "operating_points" not in metadata:
        return
    has_both = evaluated.real_at_most is not None
    real_at_most = json.loads(metadata.get("real_at_most", "{}"))
    expected = points_from_thresholds(
        json.loads(metadata["operating_points"]), real_at_most if has_both else {}
    )
    got = points_from_thresholds(evaluated.operating_points, evaluated.real_at_most or {})
    if {point.name for point in got} == {point.name for point in expected}:
        by_name = {point.name: point for point in got}
        if all(_are_same(point, by_name[point.name]) for point in expected):
            return
    raise DatasetError(
        f"{path}: got thresholds {_text(got)}, the checkpoint has {_text(expected)}; export this checkpoint, "
        "serve it and evaluate again"
    )


def _are_same(one: OperatingPoint, other: OperatingPoint) -> bool:
    return isclose(one.fake_at_least, other.fake_at_least, abs_tol=_SAME) and isclose(
        one.real_at_most, other.real_at_most, abs_tol=_SAME
    )


def _text(points: Iterable[OperatingPoint]) -> str:
    return "; ".join(map(str, points)) or "none"
