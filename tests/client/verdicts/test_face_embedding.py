"""Embeddings of a real head, of its copies, and of its negative, which looks like nobody's photo of it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from conftest import Portrait

from deepfake_triton.arrays import Image
from deepfake_triton.client.verdicts.clustering import LINKED_BELOW
from deepfake_triton.client.verdicts.face_embedding import NO_VIEWS, VIEW, VIEWS, cut_views, embed_face

pytestmark = pytest.mark.fast


def views(image: Image, face: tuple[float, ...], frames: int = 1) -> Image:
    boxes = np.tile(np.array(face, np.float32), (frames, 1))
    return np.asarray(cut_views(np.stack([image] * frames), boxes, np.arange(frames)), np.uint8)


def test_the_same_head_is_near_itself_in_other_light_color_and_size(portrait: Portrait) -> None:
    known = embed_face(views(portrait.patch, portrait.face))
    assert known.shape == (128,) and known.dtype == np.float32
    x1, y1, x2, y2 = portrait.face
    mirrored = (portrait.patch.shape[1] - x2, y1, portrait.patch.shape[1] - x1, y2)
    for name, image, face in (
        ("dark", (portrait.patch * 0.5).astype(np.uint8), portrait.face),
        ("blue", np.clip(portrait.patch * np.array([0.7, 0.9, 1.3]), 0, 255).astype(np.uint8), portrait.face),
        ("small", portrait.patch[::2, ::2], tuple(value / 2 for value in portrait.face)),
        ("soft", cv2.GaussianBlur(portrait.patch, (0, 0), 2), portrait.face),
        ("mirrored", portrait.patch[:, ::-1], mirrored),
    ):
        found = embed_face(views(np.ascontiguousarray(image), face))
        assert np.linalg.norm(found - known) < 0.8 * LINKED_BELOW, name


def test_somebody_else_is_far(portrait: Portrait) -> None:
    known = embed_face(views(portrait.patch, portrait.face))
    other = embed_face(views(np.bitwise_not(portrait.patch), portrait.face))
    assert np.linalg.norm(known - other) > 1.3 * LINKED_BELOW


def test_views_are_cut_evenly_from_the_frames_in_which_the_face_was_seen() -> None:
    levels = np.arange(0, 200, 10, dtype=np.uint8)
    frames = np.broadcast_to(levels[:, None, None, None], (20, 40, 60, 3)).copy()
    boxes = np.tile(np.array([20, 10, 36, 30], np.float32), (20, 1))
    cut = cut_views(frames, boxes, np.array([2, 5, 6, 11, 15]))
    assert cut.shape == (VIEWS, VIEW.side, VIEW.side, 3)
    assert [int(view[0, 0, 0]) for view in cut] == [20, 60, 150]
    assert len(cut_views(frames, boxes, np.array([7]))) == 1
    assert NO_VIEWS.shape[1:] == cut.shape[1:]


def test_a_view_is_the_box_moved_down_to_the_chin() -> None:
    """A box 100 px high in which the rows' numbers are their brightness."""
    rows = np.broadcast_to(np.arange(200, dtype=np.uint8)[:, None, None], (200, 160, 3)).copy()
    (view,) = cut_views(rows[None], np.array([[40, 50, 110, 150]], np.float32), np.array([0]))
    assert float(view.mean()) == pytest.approx(106.5, abs=1)
    assert int(view[-1, 0, 0]) - int(view[0, 0, 0]) == pytest.approx(95, abs=2)


def test_embeddings_of_many_threads_do_not_mix(portrait: Portrait) -> None:
    images = [
        views(portrait.patch, portrait.face),
        views(np.bitwise_not(portrait.patch), portrait.face),
    ] * 6
    alone = [embed_face(image) for image in images[:2]] * 6
    with ThreadPoolExecutor(4) as pool:
        for found, expected in zip(pool.map(embed_face, images), alone, strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-5)


def test_an_embedding_is_the_mean_over_the_views(portrait: Portrait) -> None:
    one, other = views(portrait.patch, portrait.face), views(portrait.patch[::-1], portrait.face)
    both = embed_face(np.concatenate([one, other]))
    np.testing.assert_allclose(both, (embed_face(one) + embed_face(other)) / 2, atol=1e-5)
