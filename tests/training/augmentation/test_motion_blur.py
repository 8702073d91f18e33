"""Motion blur: an impulse spreads along its path, by its length, and nothing gets lost."""

from __future__ import annotations

import numpy as np
import pytest
from support import backdrop

from deepfake_triton.training.augmentation.motion_blur import (
    MAX_LENGTH,
    MotionBlur,
    blur_motion,
    disk_kernel,
    motion_kernel,
    sample_motion_blur,
)

pytestmark = pytest.mark.fast


def spread(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean [2], variances along the principal axes [2] (largest first) and the first axis (x, y)."""
    ys, xs = np.nonzero(values)
    weights = values[ys, xs] / values.sum()
    points = np.stack([xs, ys], axis=1) - np.array(values.shape[::-1]) // 2
    mean = weights @ points
    variances, axes = np.linalg.eigh((points - mean).T @ ((points - mean) * weights[:, None]))
    return mean, variances[::-1], axes[:, 1]


@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0, 135.0])
@pytest.mark.parametrize("length_px", [4.0, 12.5])
def test_an_impulse_spreads_along_the_path(angle: float, length_px: float) -> None:
    image = np.zeros((101, 101, 3), np.uint8)
    image[50, 50] = 255
    (out,) = blur_motion([image], MotionBlur(length_px / 101, angle_degrees=angle))
    assert out.shape == image.shape and out.dtype == np.uint8
    assert int(out.sum()) == pytest.approx(3 * 255, rel=0.1)  # whole gray levels
    mean, (along, across), axis = spread(out[..., 1].astype(float))
    np.testing.assert_allclose(mean, 0, atol=0.3)
    assert along == pytest.approx(length_px**2 / 12, rel=0.25, abs=0.3) and across < 0.5
    expected = np.array([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))])
    assert abs(axis @ expected) > np.cos(np.deg2rad(6))


def test_a_kernel_keeps_the_sum_and_the_place() -> None:
    for seed in range(20):
        kernel = sample_motion_blur(np.random.default_rng(seed)).kernel(240)
        assert kernel.dtype == np.float32 and kernel.shape[0] == kernel.shape[1] and kernel.shape[0] % 2
        assert kernel.min() >= 0 and kernel.sum() == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(spread(kernel.astype(float))[0], 0, atol=0.01)


def test_a_bend_curves_the_path() -> None:
    straight, bent = (spread(motion_kernel(20, 0, bend).astype(float))[1] for bend in (0, 120))
    assert bent[0] < 0.9 * straight[0] and bent[1] > straight[1] + 2


def test_a_lens_out_of_focus_spreads_evenly() -> None:
    _, variances, _ = spread(disk_kernel(6).astype(float))
    np.testing.assert_allclose(variances, 6**2 / 4, rtol=0.05)
    both = MotionBlur(0.1, 0, 0, defocus=0.06).kernel(100).astype(float)
    np.testing.assert_allclose(spread(both)[1], [9 + 10**2 / 12, 9], rtol=0.1)


def test_drawn_paths_stay_within_the_limits() -> None:
    drawn = [sample_motion_blur(np.random.default_rng(seed)) for seed in range(300)]
    assert all(0 < blur.length <= MAX_LENGTH for blur in drawn)
    assert max(blur.length for blur in drawn) > 0.9 * MAX_LENGTH
    assert np.ptp([blur.angle_degrees for blur in drawn]) > 170
    assert 0.35 < np.mean([blur.bend_degrees != 0 for blur in drawn]) < 0.65
    assert 0.2 < np.mean([blur.defocus > 0 for blur in drawn]) < 0.47


def test_all_images_get_the_same_and_no_path_changes_nothing() -> None:
    image = backdrop(90, 120)
    first, second = blur_motion([image, image[:, ::-1].copy()], MotionBlur(0.05, 90))
    assert (first[:, ::-1] == second).all() and (first != image).any()
    assert (blur_motion([image], MotionBlur(0.0))[0] == image).all()
