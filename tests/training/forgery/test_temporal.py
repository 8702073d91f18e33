"""Recipes over time: flicker, drop-outs and re-initializations, and streams that stay as they were."""

from __future__ import annotations

import hashlib
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest
from drawn_scene import LANDMARKS, scene

from deepfake_triton.training.forgery.blending import forge_frame, forge_with_mask
from deepfake_triton.training.forgery.kinds import CLASSIC_KINDS, KINDS
from deepfake_triton.training.forgery.recipe import sample_recipe
from deepfake_triton.training.forgery.temporal import TemporalFaults, sample_temporal_faults

pytestmark = pytest.mark.fast

CLASSIC_STREAM_SHA256 = "0b8d5ef23561f1743568c122ad8f0ae1b503af1734163c2761f15a48de9a0469"
NEW_FIELDS = {"regeneration", "mouth_rendering", "blotches", "temporal_faults"}


def faults(**changes: Any) -> TemporalFaults:
    none = TemporalFaults((0.0, 0.0, 0.0), 0.0, np.array([7, 5]), 0.0, seed=3)
    return replace(none, **changes)


def values(part: Any) -> list[Any]:
    """Return all numbers and names of a recipe in order, but for those that classic kinds lack."""
    if is_dataclass(part):
        return [
            value
            for field in fields(part)
            if field.name not in NEW_FIELDS
            for value in values(getattr(part, field.name))
        ]
    if isinstance(part, np.ndarray):
        return [round(value, 9) for value in part.ravel().tolist()]
    if isinstance(part, tuple):
        return [value for item in part for value in values(item)]
    return [round(part, 9) if isinstance(part, float) else part]


def test_classic_recipes_draw_what_they_always_drew() -> None:
    rng = np.random.default_rng(11)
    recipes = [sample_recipe(rng, 0.5 + step / 20) for step in range(40)]
    text = repr([values(recipe) for recipe in recipes])
    assert hashlib.sha256(text.encode()).hexdigest() == CLASSIC_STREAM_SHA256
    assert all(getattr(recipe, name) is None for recipe in recipes for name in NEW_FIELDS)


def test_kinds_are_drawn_from_those_that_are_on() -> None:
    rng = np.random.default_rng(0)
    drawn = [sample_recipe(rng, kinds=KINDS).kind for _ in range(400)]
    assert set(drawn) == set(KINDS)
    assert 0.12 < drawn.count("regenerate") / 400 < 0.24
    two = ("blotches", "swap")
    assert {sample_recipe(rng, kinds=two).kind for _ in range(40)} == set(two)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="kinds: got"):
        sample_recipe(rng, kinds=())


def test_faults_are_drawn_after_all_else() -> None:
    for kind in CLASSIC_KINDS:
        plain, faulty = (
            sample_recipe(np.random.default_rng(2), kind=kind, temporal=temporal)
            for temporal in (False, True)
        )
        assert values(plain) == values(faulty)
        assert plain.temporal_faults is None and faulty.temporal_faults is not None


def test_a_dropped_frame_is_the_real_one() -> None:
    image = scene()
    recipe = replace(
        sample_recipe(np.random.default_rng(1), 1.0, "self-blend"),
        opacity=1.0,
        temporal_faults=faults(dropout_rate=0.15),
    )
    frames = [forge_with_mask(image, LANDMARKS, recipe, frame_index=index) for index in range(40)]
    dropped = [bool((frame == image).all() and not coverage.any()) for frame, coverage in frames]
    assert not dropped[0]
    assert 4 <= sum(dropped) <= 24
    runs = "".join("x" if drop else " " for drop in dropped).split()
    assert len(runs) >= 3 and min(map(len, runs)) >= 1
    assert not any(faults(dropout_rate=0.9).at(0).dropped for _ in range(3))


def test_flicker_differs_from_frame_to_frame_and_is_repeatable() -> None:
    recipe = replace(sample_recipe(np.random.default_rng(1), 1.0, "self-blend"), jitter_amount=0.0, noise=0.0)
    for flicker in ((0.4, 0.0, 0.0), (0.0, 0.1, 0.0), (0.0, 0.0, 1.0)):
        flickering = replace(recipe, temporal_faults=faults(flicker=flicker))
        first, again, second, third = (
            forge_frame(scene(), LANDMARKS, flickering, frame_index=index) for index in (4, 4, 5, 6)
        )
        assert (first == again).all()
        assert (first != second).any() and (second != third).any()


def test_the_heaviest_flicker_still_shows_the_forgery() -> None:
    heavy = faults(flicker=(5.0, 0.0, 0.0))
    opacities = [heavy.at(index).opacity for index in range(200)]
    assert min(opacities) == pytest.approx(0.3) and max(opacities) > 0.8


def test_the_face_jumps_at_a_re_initialization_alone() -> None:
    jumping = faults(jump=1.0)
    waves = [jumping.at(index).waves for index in range(24)]
    changes = [index for index in range(1, 24) if (waves[index] != waves[index - 1]).any()]
    assert changes == [7, 12, 19]
    assert np.abs(waves[7] - waves[6]).mean() > 0.2


def test_drawn_faults_are_sometimes_of_each_sort_and_sometimes_absent() -> None:
    rng = np.random.default_rng(5)
    drawn = [sample_temporal_faults(rng) for _ in range(100)]
    for present in (
        [any(one.flicker) for one in drawn],
        [one.dropout_rate > 0 for one in drawn],
        [one.jump > 0 for one in drawn],
    ):
        assert 20 < sum(present) < 80
