"""Edits of whole pictures, on a drawn face of which it is known where skin, eyes and edges are."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from support import backdrop

from deepfake_triton.arrays import Image
from deepfake_triton.training.augmentation.edits.edits import Edits, apply_edits, sample_edits
from deepfake_triton.training.augmentation.edits.overlay import (
    OVERLAY_KINDS,
    Overlay,
    OverlayKind,
    draw_overlays,
    sample_overlay,
)
from deepfake_triton.training.augmentation.edits.shapes import STICKERS
from deepfake_triton.training.augmentation.edits.skin import SkinSmoothing
from deepfake_triton.training.augmentation.edits.tone import (
    LocalContrast,
    PhotoFilter,
    Relighting,
    Sharpening,
)

pytestmark = pytest.mark.fast

LANDMARKS = np.array([[70.0, 75], [130, 75], [100, 112], [75, 141], [125, 141]])
EYE, CHEEK, BACKGROUND = np.s_[68:82, 62:78], np.s_[100:125, 62:80], np.s_[2:30, 2:30]
SMOOTHING = SkinSmoothing(amount=1.0, radius=0.12, edge=15.0)


def face(seed: int = 0) -> Image:
    """Noisy skin in an ellipse before blue, with dark eyes."""
    image = np.full((200, 200, 3), (60, 80, 170), np.float64)
    mask = np.zeros((200, 200), np.uint8)
    cv2.ellipse(mask, (100, 105), (62, 82), 0, 0, 360, (1,), -1)
    image[mask > 0] = (205, 155, 130)
    for x, y in LANDMARKS[:2]:
        cv2.circle(image, (int(x), int(y)), 7, (40, 35, 30), -1)
    noise = np.random.default_rng(seed).normal(0, 7, (200, 200, 1))
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def edited(image: Image, edits: Edits) -> Image:
    return apply_edits([image], edits, landmarks=LANDMARKS)[0]


def test_smoothing_softens_skin_and_keeps_eyes_edges_and_the_rest() -> None:
    image = face()
    smooth = edited(image, Edits(smoothing=SMOOTHING))
    assert smooth[CHEEK].std(axis=(0, 1)).max() < 0.5 * image[CHEEK].std(axis=(0, 1)).min()
    assert smooth[EYE].std() > 0.95 * image[EYE].std()
    assert (smooth[BACKGROUND] == image[BACKGROUND]).all()
    step_before, step_after = (
        i[100:110, 44:48].mean(axis=(0, 1)) - i[100:110, 30:34].mean(axis=(0, 1)) for i in (image, smooth)
    )
    np.testing.assert_allclose(step_after, step_before, rtol=0.1)


def test_smoothing_brightens_skin_alone() -> None:
    image = face()
    bright = edited(image, Edits(smoothing=replace(SMOOTHING, amount=0.0, brighten=0.3, rosy=8)))
    change = bright.astype(int) - image
    assert change[CHEEK].mean() > 8 and change[CHEEK][..., 0].mean() > 12
    assert not change[BACKGROUND].any() and abs(change[EYE].mean()) < 4


def test_the_whole_picture_can_be_denoised() -> None:
    image = face()
    smooth = edited(image, Edits(smoothing=replace(SMOOTHING, is_whole_picture=True)))
    for place in (CHEEK, BACKGROUND):
        assert smooth[place].std(axis=(0, 1)).max() < 0.5 * image[place].std(axis=(0, 1)).min()


def test_sharpening_raises_gradients_and_leaves_halos() -> None:
    image = np.full((80, 80, 3), 80, np.uint8)
    image[:, 40:] = 160
    image = np.asarray(cv2.GaussianBlur(image, (0, 0), 1.5), np.uint8)
    sharp = edited(image, Edits(sharpening=Sharpening(amount=1.5, radius=0.03))).astype(int)
    assert np.abs(np.diff(sharp, axis=1)).max() > 1.5 * np.abs(np.diff(image.astype(int), axis=1)).max()
    assert sharp.min() < 72 and sharp.max() > 168
    assert (sharp[:, :20] == 80).all() and (sharp[:, 60:] == 160).all()


def test_local_contrast_amplifies_flat_texture() -> None:
    image = np.clip(backdrop(200, 200) // 6 + 100, 0, 255).astype(np.uint8)
    strong = edited(image, Edits(local_contrast=LocalContrast(max_gain=2.0, radius=0.5)))
    gray, raised = (cv2.cvtColor(i, cv2.COLOR_RGB2GRAY).astype(float) for i in (image, strong))
    local = [i - cv2.GaussianBlur(i, (0, 0), 30) for i in (gray, raised)]
    assert 1.4 < local[1].std() / local[0].std() < 2.2
    assert abs(raised.mean() - gray.mean()) < 4


def test_local_contrast_does_not_amplify_a_smooth_difference_of_a_pair() -> None:
    real = np.clip(backdrop(200, 200) // 6 + 100, 0, 200).astype(np.uint8)
    fake = real + np.uint8(20)
    edits = Edits(local_contrast=LocalContrast(max_gain=2.4, radius=0.3))
    first, second = (i.astype(int) for i in apply_edits([real, fake], edits, landmarks=LANDMARKS))
    np.testing.assert_allclose((second - first).mean(), 20, atol=1)


def test_light_falls_on_the_side_it_comes_from() -> None:
    gray = np.full((200, 200, 3), 110, np.uint8)
    lit = edited(gray, Edits(relighting=Relighting(0, key=0.5)))
    assert lit[90:110, 150:160].mean() > 130 and lit[90:110, 40:50].mean() < 90
    opposite = edited(gray, Edits(relighting=Relighting(180, key=0.5)))
    np.testing.assert_allclose(opposite[:, ::-1].astype(int), lit, atol=4)
    below = edited(gray, Edits(relighting=Relighting(90, key=0.5)))
    assert below[190:].mean() > 130 and below[:10].mean() < 90
    # No step that would look like the border of a mask.
    assert np.abs(np.diff(lit.astype(int), axis=1)).max() <= 3


def test_backlight_and_colored_light() -> None:
    gray = np.full((200, 200, 3), 110, np.uint8)
    back = edited(gray, Edits(relighting=Relighting(0, exposure=-0.6, background=0.9, flare=0.1)))
    assert back[:10, :10].mean() > 1.5 * back[90:110, 90:110].mean()
    red = edited(gray, Edits(relighting=Relighting(0, tint=(0.3, 0, -0.3)))).astype(int)
    warm = red[..., 0] - red[..., 2]
    assert warm[100, 190] > warm[100, 10] + 10 and warm[100, 190] > 30


def test_a_photo_filter_grays_and_tones() -> None:
    gray = edited(face(), Edits(photo_filter=PhotoFilter(saturation=0))).astype(int)
    assert np.ptp(gray, axis=2).max() <= 1
    faded = edited(np.zeros((20, 20, 3), np.uint8), Edits(photo_filter=PhotoFilter(fade=0.1)))
    assert 20 < faded.mean() < 31
    assert (edited(face(), Edits(photo_filter=PhotoFilter())) == face()).all()


def overlay(kind: OverlayKind, **changes: object) -> Overlay:
    center = (0.5, 0.5) if kind in ("text", "caption", "watermark", "logo") else (0.0, 0.5)
    drawn = Overlay(kind, center, 0.2, (255, 255, 255), (0, 0, 0), text="Live now", sticker="star")
    return replace(drawn, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", OVERLAY_KINDS)
def test_an_overlay_covers_a_part_of_all_images_alike(kind: OverlayKind) -> None:
    dark, light = np.full((200, 200, 3), 60, np.uint8), np.full((200, 200, 3), 190, np.uint8)
    first, second = draw_overlays([dark, light], [overlay(kind)], LANDMARKS)
    opaque = (first == second).all(axis=2)
    assert 150 < opaque.sum() < 0.6 * 200 * 200
    untouched = (first == dark).all(axis=2) & (second == light).all(axis=2)
    assert untouched.sum() > 0.3 * 200 * 200 and (opaque | untouched).mean() > 0.85  # the rest are soft edges
    half, _ = draw_overlays([dark, light], [overlay(kind, alpha=0.4)], LANDMARKS)
    np.testing.assert_allclose(half, 0.4 * first.astype(float) + 0.6 * dark, atol=1)


@pytest.mark.parametrize("sticker", STICKERS)
def test_a_sticker_follows_the_face(sticker: str) -> None:
    black = np.zeros((200, 200, 3), np.uint8)
    drawn = overlay("sticker", sticker=sticker, second_color=(200, 200, 200))
    at, moved = (draw_overlays([black], [drawn], LANDMARKS + d)[0] for d in (0.0, np.array([20.0, 12])))
    assert at.any() and (np.roll(at, (12, 20), (0, 1)) == moved).all()
    (large,) = draw_overlays([black], [drawn], 1.5 * (LANDMARKS - 100) + 100)
    assert 1.8 < (large > 0).sum() / (at > 0).sum() < 2.7


def test_text_stays_where_it_is_in_the_picture() -> None:
    black = np.zeros((200, 200, 3), np.uint8)
    drawn = overlay("text", second_color=(0, 0, 0), rotation_degrees=0.0)
    at, moved = (draw_overlays([black], [drawn], LANDMARKS + d)[0] for d in (0.0, 30.0))
    assert (at == moved).all()
    rows, columns = np.nonzero(at[..., 0] > 128)
    assert abs(columns.mean() - 100) < 10 and abs(rows.mean() - 100) < 10
    assert 25 < np.ptp(rows) < 70  # letters of a fifth of the height at most


def test_no_drawn_overlay_hides_the_face() -> None:
    black = np.zeros((200, 200, 3), np.uint8)
    seen = set()
    for seed in range(120):
        drawn = replace(sample_overlay(np.random.default_rng(seed)), color=(255, 255, 255), alpha=1.0)
        (out,) = draw_overlays([black], [drawn], LANDMARKS)
        assert (out[45:165, 50:150] > 0).any(axis=2).mean() < 0.5
        seen.add(drawn.kind)
    assert seen == set(OVERLAY_KINDS)


def test_edits_are_drawn_by_seed_and_often_are_none() -> None:
    drawn = [sample_edits(np.random.default_rng(seed)) for seed in range(400)]
    counts = [sum(bool(value) for value in vars(edits).values()) for edits in drawn]
    assert 0.42 < counts.count(0) / 400 < 0.58 and max(counts) == 2 and counts.count(2) > 30
    for name in vars(Edits()):
        assert sum(bool(getattr(edits, name)) for edits in drawn) > 10, name
    assert sample_edits(np.random.default_rng(7)) == drawn[7]
    assert (edited(face(), Edits()) == face()).all()


def test_a_pair_differs_only_where_it_did_before() -> None:
    real = face()
    fake = real.copy()
    fake[120:150, 90:115] = 255 - fake[120:150, 90:115]
    far = np.ones((200, 200), bool)
    far[80:190, 50:155] = False
    for seed in range(80):
        edits = sample_edits(np.random.default_rng(seed))
        first, second = apply_edits([real, fake], edits, landmarks=LANDMARKS)
        assert first.shape == real.shape and first.dtype == np.uint8
        # A neighborhood's contrast is measured in each picture, and reaches beyond the forgery.
        reached = 40 if edits.local_contrast else 0
        assert np.abs(first[far].astype(int) - second[far]).max() <= reached, edits
        assert (first == apply_edits([real], edits, landmarks=LANDMARKS)[0]).all()


def test_the_pictures_given_stay_as_they_are() -> None:
    image = face()
    for seed in range(30):
        edited(image, sample_edits(np.random.default_rng(seed)))
    assert (image == face()).all()


@pytest.mark.parametrize("moved", [np.array([5000.0, 0]), np.array([-400.0, -400])])
def test_a_face_outside_of_the_picture_or_in_profile_breaks_nothing(moved: np.ndarray) -> None:
    profile = LANDMARKS * np.array([0.0, 1.0]) + np.array([100, 0])
    for seed in range(30):
        edits = sample_edits(np.random.default_rng(seed))
        for landmarks in (LANDMARKS + moved, profile):
            assert apply_edits([face()], edits, landmarks=landmarks)[0].shape == (200, 200, 3)
