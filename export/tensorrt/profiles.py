"""Optimization profiles: the minimum, optimum and maximum shape of every input with dynamic sizes."""

from __future__ import annotations

from collections.abc import Mapping

from deepfake_triton import contracts
from deepfake_triton.contracts import (
    DEFAULT_FRAMES,
    FEATURES,
    FRAMES,
    MAX_FRAME_SIDE,
    MAX_FRAMES,
    TYPICAL_FRAME_HW,
)
from deepfake_triton.errors import EngineError
from deepfake_triton.repository.engine_record import Shape, ShapeProfile

DYNAMIC = -1
_TYPICAL_TRACKS = 4


def profile_from_text(text: str) -> tuple[str, ShapeProfile]:
    """Parse `faces=1x1x112x112x3,4x20x112x112x3,32x64x112x112x3` to the input's name and its profile.

    Raises ValueError.
    """
    name, equals, shapes = text.rpartition("=")
    parts = shapes.split(",")
    if not equals or not name or len(parts) != 3:
        raise ValueError(f"got {text!r}, expected NAME=MIN,OPT,MAX such as features=1x1x8,2x20x8,4x64x8")
    low, optimum, high = (tuple(int(size) for size in part.split("x")) for part in parts)
    return name, ShapeProfile(low, optimum, high)


def profiles_for(inputs: Mapping[str, Shape], named: Mapping[str, ShapeProfile]) -> dict[str, ShapeProfile]:
    """Return a profile for every input with dynamic sizes (-1): the `named` one, else the contract's.

    Raises EngineError when an input has neither, or a named profile does not fit.
    """
    for name in named:
        if name not in inputs:
            raise EngineError(f"--profile {name}: the graph has no such input, only {', '.join(inputs)}")
    chosen = {}
    for name, shape in inputs.items():
        profile = named.get(name) or (_contract_profile(name, shape) if DYNAMIC in shape else None)
        if profile:
            _require_fits(name, shape, profile)
            chosen[name] = profile
        elif DYNAMIC in shape:
            raise EngineError(
                f"input {name} {_text(shape)} has dynamic sizes; pass --profile {name}=MIN,OPT,MAX"
            )
    return chosen


def _contract_profile(name: str, shape: Shape) -> ShapeProfile | None:
    """Return a profile from one frame or track to the largest served input, with the typical load as
    optimum."""
    tracks = contracts.sequence_classifier().max_batch_size
    if name == FRAMES.name and len(shape) == 4:
        side = MAX_FRAME_SIDE
        return ShapeProfile((1, 1, 1, 3), (DEFAULT_FRAMES, *TYPICAL_FRAME_HW, 3), (MAX_FRAMES, side, side, 3))
    if (name == FEATURES.name and len(shape) == 3) or (name == "faces" and len(shape) == 5):
        rest = shape[2:]
        return ShapeProfile(
            (1, 1, *rest), (_TYPICAL_TRACKS, DEFAULT_FRAMES, *rest), (tracks, MAX_FRAMES, *rest)
        )
    return None


def _require_fits(name: str, shape: Shape, profile: ShapeProfile) -> None:
    shapes = (profile.min, profile.opt, profile.max)
    ranks = {len(bound) for bound in shapes}
    fits = ranks == {len(shape)} and all(
        1 <= low <= optimum <= high and (size == DYNAMIC or low == high == size)
        for low, optimum, high, size in zip(*shapes, shape, strict=False)
    )
    if not fits:
        got = ",".join(_text(bound) for bound in shapes)
        raise EngineError(
            f"--profile {name}: got {got}, expected MIN ≤ OPT ≤ MAX of the shape {_text(shape)} "
            "(-1 is dynamic)"
        )


def _text(shape: Shape) -> str:
    return "x".join(str(size) for size in shape)
