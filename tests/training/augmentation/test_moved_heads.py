"""Pairs of portraits with a mesh, whose heads are moved: picture, mesh, box and landmarks stay together."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from drawn_head import draw_head

from deepfake_triton.arrays import Image
from deepfake_triton.models.face_mesh.finder import landmarks_of_mesh
from deepfake_triton.models.face_mesh.topology import EYES, Mesh
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.training.augmentation import pair_draws
from deepfake_triton.training.augmentation.camera_motion import View
from deepfake_triton.training.augmentation.degradations import Degradation
from deepfake_triton.training.augmentation.heads.motion import HeadMotion
from deepfake_triton.training.augmentation.pair_draws import PairDraws
from deepfake_triton.training.augmentation.pair_options import Augmentation, PairOptions
from deepfake_triton.training.augmentation.pairs import PairSampler
from deepfake_triton.training.augmentation.stills import StillPair
from deepfake_triton.training.faces.portraits import Portrait
from deepfake_triton.training.forgery.colors import ColorJitter

pytestmark = pytest.mark.fast

_move = pair_draws._moved
_KEPT = Degradation(ColorJitter())


def sampler(*augmentations: Augmentation) -> PairSampler:
    head = draw_head()
    portraits = [
        Portrait(head.pixels, head.box, head.landmarks, f"{i}.jpg", f"person {i}", head.mesh)
        for i in range(2)
    ]
    return PairSampler(portraits, CropRule(64, 0.05), options=PairOptions(frozenset(augmentations)))


@pytest.fixture
def moves(monkeypatch: pytest.MonkeyPatch) -> list[tuple[View, HeadMotion, View]]:
    """The views before and after each motion; pairs are not degraded."""
    seen = []

    def noted(view: View, motion: HeadMotion) -> View:
        moved = _move(view, motion)
        seen.append((view, motion, moved))
        return moved

    monkeypatch.setattr(pair_draws, "_moved", noted)
    monkeypatch.setattr(PairDraws, "degradation", lambda *_, **__: _KEPT)
    return seen


def eye_centers(mesh: Mesh) -> np.ndarray:
    """Centers [2, 2] of the person's right and left eye."""
    return np.array([mesh[[*eye.upper, *eye.lower[1:-1]], :2].mean(axis=0) for eye in EYES])


def is_mirrored(mesh: Mesh) -> bool:
    """Tell whether the person's right eye is at the right of the picture."""
    right, left = eye_centers(mesh)
    return bool(right[0] > left[0])


def gray_at(image: Image, x: float, y: float) -> float:
    gray = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), 1.0)
    return float(gray[round(y), round(x)])


def require_together(view: View) -> None:
    """Check that landmarks, box and picture of a view are where its mesh says, left ones first."""
    assert view.mesh is not None
    size = float(np.ptp(view.mesh[:, 1]))
    known = landmarks_of_mesh(view.mesh, view.landmarks)
    np.testing.assert_allclose(view.landmarks, known, atol=max(1.0, 0.03 * size))
    eyes, mouth = view.landmarks[:2], view.landmarks[3:]
    across = (eyes[1] - eyes[0]) / np.hypot(*(eyes[1] - eyes[0]))
    assert across[0] > 0.5 and (mouth[1] - mouth[0]) @ across > 0
    middle = 0.5 * (view.mesh[:, :2].min(axis=0) + view.mesh[:, :2].max(axis=0))
    assert np.abs(view.box.reshape(2, 2).mean(axis=0) - middle).max() < 0.2 * size
    sides = view.box[2:] - view.box[:2]
    assert 0.6 < sides.max() / size < 1.5


def require_pupils(view: View) -> None:
    """Check that open eyes are drawn where the mesh has them: dark between skin."""
    assert view.mesh is not None
    size = float(np.ptp(view.mesh[:, 1]))
    for x, y in eye_centers(view.mesh):
        assert gray_at(view.pixels, x, y) < 0.85 * gray_at(view.pixels, x, y + 0.15 * size)


@pytest.mark.parametrize("augmentations", [("head-pose",), ("expressions",), ("head-pose", "expressions")])
def test_stills_are_forged_where_the_moved_head_is(
    augmentations: tuple[Augmentation, ...], moves: list[tuple[View, HeadMotion, View]]
) -> None:
    rng, one = np.random.default_rng(3), sampler(*augmentations)
    stills: list[StillPair] = [one._draw_still(rng, 1.0) for _ in range(24)]
    assert len(moves) == 24
    mirrored = [is_mirrored(view.mesh) for view, _, _ in moves if view.mesh is not None]
    assert 6 < sum(mirrored) < 18
    for still, (view, motion, moved) in zip(stills, moves, strict=True):
        require_together(view)
        require_together(moved)
        assert (moved.pixels != view.pixels).any() or motion == HeadMotion()
        assert (still.real == moved.pixels).all() and (still.box == moved.box).all()
        if "expressions" not in augmentations and len(moved.pixels) > 150:
            require_pupils(moved)
        assert still.mask_coverage is not None
        forged = (still.real != still.fake).any(axis=2)
        assert forged.any() and not forged[still.mask_coverage == 0].any()
        at = np.argwhere(still.mask_coverage > 64).mean(axis=0)[::-1]
        face = float(np.ptp(moved.landmarks[:, 1]) + np.ptp(moved.landmarks[:, 0]))
        assert np.hypot(*(at - moved.landmarks.mean(axis=0))) < 0.6 * face


def test_frames_of_a_clip_are_forged_where_the_moved_head_is(
    moves: list[tuple[View, HeadMotion, View]],
) -> None:
    one, mirrored = sampler("head-pose", "expressions"), set()
    for seed in range(6):
        moves.clear()
        scene = one.draw_scene(
            np.random.default_rng(seed), one.portraits[0], num_frames=3, face_px=110, side=160
        )
        assert len(moves) == 3
        for (view, _, moved), shown, fake in zip(moves, scene.views, scene.fakes, strict=True):
            require_together(view)
            require_together(moved)
            assert (shown.pixels == moved.pixels).all() and (shown.landmarks == moved.landmarks).all()
            forged = (fake != shown.pixels).any(axis=2)
            assert 0.001 < forged.mean() < 0.7
            assert moved.mesh is not None
            mirrored.add(is_mirrored(moved.mesh))
    assert mirrored == {False, True}


def test_clips_are_cut_around_the_moved_head(moves: list[tuple[View, HeadMotion, View]]) -> None:
    clip = sampler("head-pose").draw_clip(np.random.default_rng(2), sampler().portraits[0], 2)
    assert len(moves) == 2 and clip.real.shape == clip.fake.shape == (2, 64, 64, 3)
    middle = clip.real[:, 24:40, 24:40].astype(float).mean(axis=(1, 2))
    assert (middle[:, 0] > middle[:, 2] + 15).all(), "skin in the middle, not the blue ground"
