"""Masks, recipes and forged frames, on a synthetic face whose landmarks are known."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from drawn_scene import LANDMARKS, scene

from deepfake_triton.training.forgery.blending import Donor, forge_frame, forge_with_mask
from deepfake_triton.training.forgery.colors import ColorJitter, apply_color_jitter, transfer_colors
from deepfake_triton.training.forgery.kinds import CLASSIC_KINDS
from deepfake_triton.training.forgery.masks import REGIONS, MaskShape, draw_mask, eye_distance
from deepfake_triton.training.forgery.recipe import _pick, sample_recipe

pytestmark = pytest.mark.fast


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


@pytest.mark.parametrize("kind", CLASSIC_KINDS)
def test_forging_changes_the_face_and_nothing_else(kind: str) -> None:
    image, donor = scene(), Donor(scene(5), LANDMARKS + np.array([5, -8]))
    for seed in range(6):
        recipe = replace(sample_recipe(np.random.default_rng(seed), 1.0, kind), opacity=1.0)  # type: ignore[arg-type]
        forged, coverage = forge_with_mask(image, LANDMARKS, recipe, frame_index=3, donor=donor)
        assert forged.shape == image.shape and forged.dtype == coverage.dtype == np.uint8
        assert (forge_frame(image, LANDMARKS, recipe, frame_index=3, donor=donor) == forged).all()
        difference = np.abs(forged.astype(int) - image).max(axis=2)
        assert coverage.max() > 200 and not difference[coverage == 0].any()
        ys, xs = np.nonzero(difference)
        assert len(ys) > 50
        unit = eye_distance(LANDMARKS)
        far = np.hypot(xs - 160, ys - 135).max()
        assert far < 3.2 * unit
        assert not difference[:, :20].any() and not difference[:, -20:].any()


def test_the_same_recipe_forges_the_same_frame_and_jitters_over_time() -> None:
    recipe = replace(sample_recipe(np.random.default_rng(1), 1.0, "self-blend"), jitter_amount=1.0)
    frames = [forge_frame(scene(), LANDMARKS, recipe, frame_index=index).astype(int) for index in (0, 0, 1)]
    assert (frames[0] == frames[1]).all()
    assert (frames[0] != frames[2]).any()
    still = replace(recipe, jitter_amount=0.0, noise=0.0)
    a, b = (forge_frame(scene(), LANDMARKS, still, frame_index=index) for index in (0, 7))
    assert (a == b).all()


def test_recipes_are_drawn_by_seed() -> None:
    first, again, other = (sample_recipe(np.random.default_rng(seed)) for seed in (4, 4, 5))
    assert first.seed == again.seed != other.seed
    assert {sample_recipe(np.random.default_rng(seed)).kind for seed in range(60)} == set(CLASSIC_KINDS)


def test_a_swap_needs_a_donor() -> None:
    with pytest.raises(ValueError, match="donor"):
        forge_frame(scene(), LANDMARKS, sample_recipe(np.random.default_rng(0), 1.0, "swap"))


def test_a_face_outside_of_the_image_leaves_it_unchanged() -> None:
    recipe = sample_recipe(np.random.default_rng(0), 1.0, "self-blend")
    image = scene()
    assert (forge_frame(image, LANDMARKS + 2000.0, recipe) == image).all()


def test_color_jitter() -> None:
    image = scene()
    assert (apply_color_jitter(image, ColorJitter()) == image).all()
    gray = apply_color_jitter(image, ColorJitter(saturation=0.0)).astype(int)
    assert (gray.max(axis=2) - gray.min(axis=2)).max() <= 1
    red = apply_color_jitter(image, ColorJitter(offset=(30, 0, 0))).astype(int) - image
    assert red[..., 0].mean() > 20 and abs(red[..., 1:]).max() <= 1


def test_color_transfer_takes_the_other_face_s_mean() -> None:
    mask = draw_mask(shape(), LANDMARKS, (280, 320))
    dark = apply_color_jitter(scene(2), ColorJitter(gain=(0.6, 0.6, 0.6)))
    out = transfer_colors(dark, scene(), mask)
    inside = mask > 0.5
    np.testing.assert_allclose(out[inside].mean(axis=0), scene()[inside].mean(axis=0), atol=6)


@pytest.mark.parametrize("blur", [0.03, 0.09, 0.15, 0.25])
def test_a_wide_blur_at_a_lower_resolution_is_a_wide_blur(blur: float) -> None:
    sharp = draw_mask(shape(blur=0.0), LANDMARKS, (281, 321))
    expected = cv2.GaussianBlur(sharp, (0, 0), blur * eye_distance(LANDMARKS))
    np.testing.assert_allclose(draw_mask(shape(blur=blur), LANDMARKS, (281, 321)), expected, atol=0.015)


def test_colors_are_transferred_as_by_the_formula_on_every_pixel() -> None:
    source, reference = scene(1), np.clip(0.7 * scene(2) + 40, 0, 255).astype(np.uint8)
    mask = draw_mask(shape("inner"), LANDMARKS, (280, 320))
    labs = [cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(float) for image in (source, reference)]
    (mean, std), (to_mean, to_std) = (
        (lab[mask > 0.5].mean(axis=0), lab[mask > 0.5].std(axis=0) + 1) for lab in labs
    )
    lab = np.clip((labs[0] - mean) * np.clip(to_std / std, 0.5, 2) + to_mean, 0, 255).astype(np.uint8)
    expected = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
    assert np.abs(transfer_colors(source, reference, mask).astype(int) - expected).mean() < 2
    assert np.abs(source.astype(int) - expected).mean() > 8


def test_values_are_picked_as_numpy_would() -> None:
    for seed in range(50):
        ours, theirs = np.random.default_rng(seed), np.random.default_rng(seed)
        assert _pick(ours, (5, 6, 7), (0.2, 3, 1)) == theirs.choice([5, 6, 7], p=np.array([0.2, 3, 1]) / 4.2)
        assert _pick(ours, [0.0, 0.5, 1.0, 1.0]) == theirs.choice([0.0, 0.5, 1.0, 1.0])
        assert ours.uniform() == theirs.uniform()
