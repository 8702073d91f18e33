"""Masks, recipes and forged frames, on a drawn face whose landmarks are known."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from support import Picture, backdrop

from deepfake_triton.training.colours import ColourChange, changed_colours, transferred_colours
from deepfake_triton.training.forgeries import KINDS, forge_frame, forge_with_mask, sampled_recipe
from deepfake_triton.training.masks import REGIONS, MaskShape, draw_mask, eye_distance

LANDMARKS = np.array([[130.0, 110], [190, 110], [160, 147], [135, 176], [185, 176]])


def scene(seed: int = 0) -> Picture:
    noise = np.random.default_rng(seed).normal(0, 12, (280, 320, 3))
    smooth = cv2.GaussianBlur(backdrop(280, 320).astype(np.float32) + noise, (0, 0), 1.0)
    return np.clip(smooth, 0, 255).astype(np.uint8)


def shape(region: str = "face", **changes: object) -> MaskShape:
    return replace(MaskShape(region, np.zeros((8, 2)), blur=0.05), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("region", REGIONS)
def test_every_region_lies_on_the_face(region: str) -> None:
    mask = draw_mask(shape(region), LANDMARKS, (280, 320))
    assert mask.dtype == np.float32 and mask.min() >= 0 and mask.max() == pytest.approx(1, abs=0.01)
    ys, xs = np.nonzero(mask > 0.5)
    unit = eye_distance(LANDMARKS)
    assert abs(xs.mean() - 160) < 0.1 * unit
    assert 110 - 1.2 * unit < ys.min() and ys.max() < 110 + 2 * unit


def test_a_mask_follows_the_face() -> None:
    mask = draw_mask(shape(), LANDMARKS, (280, 320))
    moved = draw_mask(shape(), LANDMARKS + np.array([20, 12]), (280, 320))
    np.testing.assert_allclose(np.roll(mask, (12, 20), (0, 1)), moved, atol=0.02)
    turned = draw_mask(shape(), LANDMARKS[:, ::-1] + np.array([10, -10]), (320, 320))
    assert abs((turned > 0.5).sum() - (mask > 0.5).sum()) < 0.03 * (mask > 0.5).sum()


@pytest.mark.parametrize("kind", KINDS)
def test_forging_changes_the_face_and_nothing_else(kind: str) -> None:
    picture, donor = scene(), (scene(5), LANDMARKS + np.array([5, -8]))
    for seed in range(6):
        recipe = replace(sampled_recipe(np.random.default_rng(seed), 1.0, kind), ratio=1.0)  # type: ignore[arg-type]
        forged, share = forge_with_mask(picture, LANDMARKS, recipe, 3, donor)
        assert forged.shape == picture.shape and forged.dtype == share.dtype == np.uint8
        assert (forge_frame(picture, LANDMARKS, recipe, 3, donor) == forged).all()
        difference = np.abs(forged.astype(int) - picture).max(axis=2)
        assert share.max() > 200 and not difference[share == 0].any()
        ys, xs = np.nonzero(difference)
        assert len(ys) > 50
        unit = eye_distance(LANDMARKS)
        far = np.hypot(xs - 160, ys - 135).max()
        assert far < 3.2 * unit
        assert not difference[:, :20].any() and not difference[:, -20:].any()


def test_the_same_recipe_forges_the_same_frame_and_wobbles_slowly() -> None:
    recipe = replace(sampled_recipe(np.random.default_rng(1), 1.0, "self-blend"), wobble_amount=1.0)
    frames = [forge_frame(scene(), LANDMARKS, recipe, index).astype(int) for index in (0, 0, 1)]
    assert (frames[0] == frames[1]).all()
    assert (frames[0] != frames[2]).any()
    still = replace(recipe, wobble_amount=0.0, noise=0.0)
    a, b = (forge_frame(scene(), LANDMARKS, still, index) for index in (0, 7))
    assert (a == b).all()


def test_recipes_are_drawn_by_seed() -> None:
    first, again, other = (sampled_recipe(np.random.default_rng(seed)) for seed in (4, 4, 5))
    assert first.seed == again.seed != other.seed
    assert {sampled_recipe(np.random.default_rng(seed)).kind for seed in range(60)} == set(KINDS)


def test_a_swap_needs_a_donor() -> None:
    with pytest.raises(ValueError, match="donor"):
        forge_frame(scene(), LANDMARKS, sampled_recipe(np.random.default_rng(0), 1.0, "swap"))


def test_a_face_out_of_the_picture_leaves_it_as_it_is() -> None:
    recipe = sampled_recipe(np.random.default_rng(0), 1.0, "self-blend")
    picture = scene()
    assert (forge_frame(picture, LANDMARKS + 2000.0, recipe) == picture).all()


def test_colour_changes() -> None:
    picture = scene()
    assert (changed_colours(picture, ColourChange()) == picture).all()
    grey = changed_colours(picture, ColourChange(saturation=0.0)).astype(int)
    assert (grey.max(axis=2) - grey.min(axis=2)).max() <= 1
    red = changed_colours(picture, ColourChange(offset=(30, 0, 0))).astype(int) - picture
    assert red[..., 0].mean() > 20 and abs(red[..., 1:]).max() <= 1


def test_colour_transfer_takes_the_other_face_s_mean() -> None:
    mask = draw_mask(shape(), LANDMARKS, (280, 320))
    dark = changed_colours(scene(2), ColourChange(gain=(0.6, 0.6, 0.6)))
    out = transferred_colours(dark, scene(), mask)
    inside = mask > 0.5
    np.testing.assert_allclose(out[inside].mean(axis=0), scene()[inside].mean(axis=0), atol=6)
