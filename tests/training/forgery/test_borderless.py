"""Redrawn faces, re-rendered mouths and blotches, on pictures whose face is at a known place."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from drawn_scene import LANDMARKS, scene

from deepfake_triton.arrays import Image
from deepfake_triton.training.forgery.aligned_square import (
    cut_square,
    face_coordinates,
    place_square,
    square_landmarks,
    square_transform,
)
from deepfake_triton.training.forgery.blending import Donor, forge_frame, forge_with_mask
from deepfake_triton.training.forgery.kinds import CLASSIC_KINDS, KINDS, Kind
from deepfake_triton.training.forgery.masks import MaskShape, draw_mask, eye_distance
from deepfake_triton.training.forgery.mouth_rendering import MouthRendering, _move_lips
from deepfake_triton.training.forgery.recipe import ForgeryRecipe, sample_recipe
from deepfake_triton.training.forgery.regeneration import fading_weights

pytestmark = pytest.mark.compute

NEW_KINDS = tuple(kind for kind in KINDS if kind not in CLASSIC_KINDS)
DONOR = Donor(scene(5), LANDMARKS + np.array([5, -8]))
UNIT_PX = eye_distance(LANDMARKS)


def recipe_of(kind: Kind, seed: int, **changes: Any) -> ForgeryRecipe:
    return replace(sample_recipe(np.random.default_rng(seed), 1.0, kind), jitter_amount=0.0, **changes)


def regenerating(seed: int, **changes: Any) -> ForgeryRecipe:
    recipe = recipe_of("regenerate", seed, sharpen=0.0, noise=0.0)
    assert recipe.regeneration
    return replace(recipe, regeneration=replace(recipe.regeneration, **changes))


def detail(image: Image, where: np.ndarray) -> float:
    """Return the mean energy of what is finer than two pixels."""
    fine = image.astype(float) - cv2.GaussianBlur(image, (0, 0), 1.5)
    return float((fine[where] ** 2).mean())


def steps(image: Image) -> np.ndarray:
    """Return the largest step [H, W] from a pixel to the next, on a picture without noise."""
    smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1.0)
    across, down = np.zeros(smooth.shape), np.zeros(smooth.shape)
    across[:, 1:], down[1:] = np.diff(smooth, axis=1), np.diff(smooth, axis=0)
    return np.abs(np.stack([across, down])).max(axis=(0, 3))


@pytest.mark.parametrize("kind", NEW_KINDS)
def test_forging_changes_the_face_and_nothing_else(kind: Kind) -> None:
    image = scene()
    for seed in range(5):
        recipe = recipe_of(kind, seed)
        forged, coverage = forge_with_mask(image, LANDMARKS, recipe, frame_index=2, donor=DONOR)
        difference = np.abs(forged.astype(int) - image).max(axis=2)
        assert forged.shape == image.shape and forged.dtype == coverage.dtype == np.uint8
        assert not difference[coverage == 0].any()
        assert (difference > 3).sum() > 50
        assert (forge_frame(image, LANDMARKS, recipe, frame_index=2, donor=DONOR) == forged).all()


@pytest.mark.parametrize("kind", NEW_KINDS)
def test_a_face_outside_of_the_image_leaves_it_unchanged(kind: Kind) -> None:
    forged, coverage = forge_with_mask(scene(), LANDMARKS + 2000.0, recipe_of(kind, 0), donor=DONOR)
    assert (forged == scene()).all() and not coverage.any()


def test_a_square_goes_back_to_where_it_was_cut() -> None:
    image = np.asarray(cv2.GaussianBlur(scene(), (0, 0), 4), np.uint8)
    for side_px in (64, 216, 700):
        transform = square_transform(LANDMARKS, side_px)
        np.testing.assert_allclose(
            LANDMARKS @ transform[:, :2].T + transform[:, 2], square_landmarks(side_px), atol=0.02 * side_px
        )
        placed = place_square(cut_square(image, transform, side_px), transform, (280, 320))
        assert np.abs(placed.astype(int) - image)[90:190, 110:210].max() <= 4


def test_a_redrawn_face_has_softer_skin_than_the_real_one() -> None:
    image = scene()
    for seed in range(8):
        forged, coverage = forge_with_mask(
            image, LANDMARKS, regenerating(seed, other_person=False, noise=0.0)
        )
        inside = coverage > 250
        assert inside.mean() > 0.1
        assert detail(forged, inside) < 0.5 * detail(image, inside)


def test_a_redrawn_face_fades_without_a_step() -> None:
    # Light from one side: a redrawn face of another color would stand out at its rim.
    x, y = np.arange(320.0), np.arange(280.0)[:, None]
    image = np.dstack([60 + 0.3 * x + 0.1 * y, 90 + 0.2 * x - 0.1 * y, 110 - 0.1 * x + 0.2 * y]).astype(
        np.uint8
    )
    edge = MaskShape("face", np.zeros((8, 2)), blur=0.0)
    shifted = replace(recipe_of("self-blend", 0), mask=edge, opacity=1.0)
    shifted = replace(shifted, color_jitter=replace(shifted.color_jitter, offset=(20.0, 0.0, 0.0)))
    hard = forge_frame(image, LANDMARKS, shifted)
    assert steps(hard).max() > steps(image).max() + 4
    for seed in range(8):
        recipe = regenerating(seed, other_person=False, noise=0.0)
        forged, coverage = forge_with_mask(image, LANDMARKS, recipe)
        rim = (coverage > 0) & (coverage < 128)
        assert steps(forged)[rim].max() < steps(image)[rim].max() + 2


@pytest.mark.parametrize("extent", ["head", "square"])
def test_weights_cover_the_face_and_end_before_the_edges(extent: str) -> None:
    for fade in (0.25, 0.5):
        weights = fading_weights(extent, fade, 96)  # type: ignore[arg-type]
        face = draw_mask(
            MaskShape("brows-to-chin", np.zeros((8, 2)), blur=0.0), square_landmarks(96), (96, 96)
        )
        assert weights[face > 0].min() > 0.6
        edges = np.concatenate([weights[[0, -1]].ravel(), weights[:, [0, -1]].ravel()])
        assert edges.max() < 0.02
        assert (weights > 0.5).mean() > (0.7 if extent == "square" else 0.3)


def test_another_person_is_put_in_before_the_face_is_redrawn() -> None:
    own, other = (
        forge_frame(scene(), LANDMARKS, regenerating(1, other_person=other, noise=0.0), donor=DONOR)
        for other in (False, True)
    )
    assert np.abs(own.astype(int) - other).mean() > 0.5
    with pytest.raises(ValueError, match="donor"):
        forge_frame(scene(), LANDMARKS, regenerating(1, other_person=True))


def test_noise_of_a_redrawn_face_is_new_in_each_frame() -> None:
    recipe = regenerating(2, other_person=False, noise=8.0)
    first, again, second = (forge_frame(scene(), LANDMARKS, recipe, frame_index=index) for index in (0, 0, 1))
    assert (first == again).all() and (first != second).any()


def test_a_rendered_mouth_leaves_the_eyes_alone() -> None:
    image = scene()
    for seed in range(6):
        forged, coverage = forge_with_mask(image, LANDMARKS, recipe_of("render-mouth", seed))
        changed = np.flatnonzero((forged != image).any(axis=(1, 2)))
        assert changed[0] > 110 + 0.25 * UNIT_PX
        assert coverage[176, 160] > 200 and not coverage[110].any()


def test_an_opened_mouth_moves_the_chin_down_and_not_the_nose() -> None:
    _, y = face_coordinates(96)
    face = np.zeros((96, 96, 3), np.uint8)
    rows = [int(np.argmin(abs(y - place))) for place in (0.62, 1.35)]
    face[rows] = 255
    moved = _move_lips(face, MouthRendering("upsampler-nearest", 0.25, 0.0, 0.0, 0.02))[:, 48, 0]
    nose, lip = (int(moved[low:high].argmax()) + low for low, high in ((0, 56), (56, 96)))
    assert abs(nose - rows[0]) <= 1
    assert 1 <= lip - rows[1] <= 6


def test_blotches_lie_on_the_skin_of_the_face() -> None:
    image = scene()
    face = draw_mask(MaskShape("face", np.zeros((8, 2)), grow=1.25, blur=0.35), LANDMARKS, (280, 320))
    shares = []
    for seed in range(12):
        recipe = recipe_of("blotches", seed)
        forged, coverage = forge_with_mask(image, LANDMARKS, recipe)
        assert not coverage[face < 0.02].any()
        for eye in LANDMARKS[:2].astype(int):
            assert coverage[eye[1], eye[0]] < 30
        whole = draw_mask(recipe.mask, LANDMARKS, (280, 320)) > 0.5
        shares.append((coverage > 127)[whole].mean())
        assert np.abs(forged.astype(int) - image)[coverage > 200].mean() > 2
    assert min(shares) > 0.01 and max(shares) < 0.5 and np.ptp(shares) > 0.05
