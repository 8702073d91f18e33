"""The shapes that an engine is built for: smallest, usual and largest, of every input that has free sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deepfake_triton import contracts
from deepfake_triton.contracts import DEFAULT_FRAMES, FEATURES, FRAMES, MAX_FRAME_SIDE, MAX_FRAMES
from deepfake_triton.errors import EngineError

FREE = -1
Shape = tuple[int, ...]

_USUAL_TRACKS = 4
_USUAL_FRAME_HW = (360, MAX_FRAME_SIDE)


@dataclass(frozen=True)
class ShapeProfile:
    """An engine takes every shape between `min` and `max`, and is fastest at `opt`."""

    min: Shape
    opt: Shape
    max: Shape


def profile_from_text(text: str) -> tuple[str, ShapeProfile]:
    """`faces=1x1x112x112x3,4x20x112x112x3,32x64x112x112x3` to the input's name and its profile.

    Raises ValueError.
    """
    name, equals, shapes = text.rpartition("=")
    parts = shapes.split(",")
    if not equals or not name or len(parts) != 3:
        raise ValueError(f"got {text!r}, expected NAME=MIN,OPT,MAX such as features=1x1x8,2x20x8,4x64x8")
    smallest, usual, largest = (tuple(int(size) for size in part.split("x")) for part in parts)
    return name, ShapeProfile(smallest, usual, largest)


def profiles_for(inputs: Mapping[str, Shape], named: Mapping[str, ShapeProfile]) -> dict[str, ShapeProfile]:
    """A profile for every input with free sizes (-1): the `named` one, else the contract's.

    Raises EngineError when an input has neither, or a named profile does not fit.
    """
    for name in named:
        if name not in inputs:
            raise EngineError(f"--profile {name}: the graph has no such input, only {', '.join(inputs)}")
    chosen = {}
    for name, shape in inputs.items():
        profile = named.get(name) or (_contract_profile(name, shape) if FREE in shape else None)
        if profile:
            _require_fits(name, shape, profile)
            chosen[name] = profile
        elif FREE in shape:
            raise EngineError(f"input {name} {_text(shape)} has free sizes; say --profile {name}=MIN,OPT,MAX")
    return chosen


def _contract_profile(name: str, shape: Shape) -> ShapeProfile | None:
    """From one frame or track up to what the served models take at most; fastest at the usual load."""
    tracks = contracts.sequence_classifier().max_batch_size
    if name == FRAMES.name and len(shape) == 4:
        side = MAX_FRAME_SIDE
        return ShapeProfile((1, 1, 1, 3), (DEFAULT_FRAMES, *_USUAL_FRAME_HW, 3), (MAX_FRAMES, side, side, 3))
    if (name == FEATURES.name and len(shape) == 3) or (name == "faces" and len(shape) == 5):
        rest = shape[2:]
        return ShapeProfile(
            (1, 1, *rest), (_USUAL_TRACKS, DEFAULT_FRAMES, *rest), (tracks, MAX_FRAMES, *rest)
        )
    return None


def _require_fits(name: str, shape: Shape, profile: ShapeProfile) -> None:
    shapes = (profile.min, profile.opt, profile.max)
    ranks = {len(each) for each in shapes}
    fits = ranks == {len(shape)} and all(
        1 <= low <= usual <= high and (size == FREE or low == high == size)
        for low, usual, high, size in zip(*shapes, shape, strict=False)
    )
    if not fits:
        got = ",".join(_text(each) for each in shapes)
        raise EngineError(
            f"--profile {name}: got {got}, expected MIN ≤ OPT ≤ MAX of the shape {_text(shape)} (-1 is free)"
        )


def _text(shape: Shape) -> str:
    return "x".join(str(size) for size in shape)
