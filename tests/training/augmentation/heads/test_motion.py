"""Motions of heads: what is drawn, and that none is none."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
from drawn_head import draw_head

from deepfake_triton.training.augmentation.heads.motion import (
    HeadMotion,
    MovedHead,
    move_head,
    sample_head_motion,
    sample_head_path,
)

pytestmark = pytest.mark.fast


def moved(motion: HeadMotion) -> MovedHead:
    head = draw_head()
    return move_head(head.pixels, head.mesh, motion, landmarks=head.landmarks, box=head.box)


def test_no_motion_returns_the_same_pixels() -> None:
    head, out = draw_head(), moved(HeadMotion())
    assert (out.pixels == head.pixels).all()
    for kept, given in ((out.mesh, head.mesh), (out.landmarks, head.landmarks), (out.box, head.box)):
        np.testing.assert_allclose(kept, given, atol=1e-9)
    nearly = moved(HeadMotion(yaw_degrees=1e-6)).pixels
    assert np.abs(nearly.astype(int) - head.pixels).max() <= 1


def test_the_same_motion_gives_the_same_pixels_and_leaves_the_view() -> None:
    head = draw_head()
    before = head.pixels.copy(), head.mesh.copy()
    first, again = (
        move_head(
            head.pixels, head.mesh, HeadMotion(20, -8, 0.7, 0.5, 0.4), landmarks=head.landmarks, box=head.box
        )
        for _ in range(2)
    )
    assert (first.pixels == again.pixels).all() and (first.mesh == again.mesh).all()
    assert (first.pixels != head.pixels).any()
    assert (head.pixels == before[0]).all() and (head.mesh == before[1]).all()
    assert first.pixels.shape == head.pixels.shape and first.pixels.dtype == np.uint8


def test_stills_turn_in_range_and_close_their_eyes_half_of_the_time() -> None:
    rng = np.random.default_rng(5)
    drawn = np.array([astuple(sample_head_motion(rng, pose=True, expressions=True)) for _ in range(2000)])
    yaw, pitch, closed, opened, smile = drawn.T
    assert 29 < np.abs(yaw).max() <= 30 and abs(yaw.mean()) < 1.5 and 13 < yaw.std() < 18
    assert 17 < np.abs(pitch).max() <= 20 and 6 < pitch.std() < 9
    assert 0.45 < (closed > 0).mean() < 0.55 and 0.2 < (closed == 1).mean() < 0.3
    assert ((closed > 0.2) & (closed < 0.9)).mean() > 0.15
    assert 0.4 < (opened > 0).mean() < 0.6 and opened.max() <= 1
    assert smile.min() < -0.5 and smile.max() > 0.5 and np.abs(smile).max() <= 1


def test_what_is_off_is_not_drawn() -> None:
    rng, untouched = np.random.default_rng(2), np.random.default_rng(2)
    assert sample_head_motion(rng, pose=False, expressions=False) == HeadMotion()
    assert sample_head_path(rng, 6, pose=False, expressions=False) == [HeadMotion()] * 6
    assert rng.bit_generator.state == untouched.bit_generator.state
    pose = sample_head_motion(rng, pose=True, expressions=False)
    assert (pose.yaw_degrees, pose.pitch_degrees) != (0, 0) and astuple(pose)[2:] == (0, 0, 0)
    faces = [astuple(sample_head_motion(rng, pose=False, expressions=True)) for _ in range(20)]
    assert all(face[:2] == (0, 0) for face in faces) and all(np.array(faces)[:, 2:].any(axis=0))


def test_paths_turn_smoothly_blink_briefly_and_talk() -> None:
    paths = np.array(
        [
            [astuple(motion) for motion in sample_head_path(np.random.default_rng(seed), 150, pose=True,
                                                            expressions=True)]
            for seed in range(60)
        ]
    )  # fmt: skip
    assert np.abs(np.diff(paths[..., :2], axis=1)).max() < 12, "degrees a frame"
    assert np.abs(paths[..., 0]).max() <= 30 and np.abs(paths[..., 1]).max() <= 20
    assert np.ptp(paths[..., 0], axis=1).max() > 20 and np.ptp(paths[..., 0], axis=1).min() > 0
    closed = paths[..., 2]
    lengths = [length for path in closed if path.min() == 0 for length in runs(path > 0)]
    assert lengths and max(lengths) <= 6 and np.mean(lengths) > 2
    assert max(path.max() for path in closed if path.min() == 0) > 0.9
    assert 5 < (closed.min(axis=1) > 0).sum() < 35, "closed all the time"
    talking = paths[..., 3].max(axis=1) > 0.05
    assert 15 < talking.sum() < 45
    assert np.mean([len(runs(path > 0.02)) for path in paths[talking, :, 3]]) > 3, "syllables"


def test_a_path_depends_on_its_seed_only() -> None:
    first, again, other = (
        sample_head_path(np.random.default_rng(seed), 20, pose=True, expressions=True) for seed in (3, 3, 4)
    )
    assert first == again != other and len(first) == 20


def runs(flags: np.ndarray) -> list[int]:
    """Lengths of the runs of True that neither begin nor end with the clip."""
    edges = np.diff(flags.astype(int))
    starts, ends = np.nonzero(edges == 1)[0], np.nonzero(edges == -1)[0]
    ends = ends[ends > starts[0]] if len(starts) else ends[:0]
    return [int(end - start) for start, end in zip(starts, ends, strict=False)]
