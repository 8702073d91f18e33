"""Batches made from tables: what they hold, and what they depend on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from drawn_portraits import drawn_portraits
from torch import Tensor

from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.training.augmentation.degradations import sample_degradation
from deepfake_triton.training.augmentation.motion_blur import MotionBlur
from deepfake_triton.training.augmentation.pair_options import PairOptions
from deepfake_triton.training.augmentation.pairs import LARGEST_CROP_PX, SMALLEST_CROP_PX
from deepfake_triton.training.device.degrading import motion_kernels
from deepfake_triton.training.device.drawing import SIZE_BUCKETS, PairDrawer, size_buckets
from deepfake_triton.training.device.generator import PairGenerator, make_pairs
from deepfake_triton.training.device.pair_table import PairTable
from deepfake_triton.training.device.portrait_bank import CANVAS_PX, build_bank
from deepfake_triton.training.forgery.recipe import sample_recipe

pytestmark = pytest.mark.compute

CPU = torch.device("cpu")
RULE = CropRule(64, 0.05)
PORTRAITS = drawn_portraits(3)
BANK = build_bank(PORTRAITS, CPU, threads=2)
DRAWER = PairDrawer(BANK.faces, RULE, PairOptions())


def table(pairs: int, seed: int = 0) -> PairTable:
    return DRAWER.draw(np.random.default_rng(seed), pairs, 1.0)


def changed(drawn: PairTable, **columns: object) -> PairTable:
    """A copy with other values in some columns."""
    out = PairTable(drawn.values.copy(), drawn.seed)
    for name, value in columns.items():
        out[name][...] = value
    return out


def test_a_bank_holds_every_pixel_of_a_portrait_where_it_says() -> None:
    for number, portrait in enumerate(PORTRAITS):
        left, top = BANK.origins[number].int().tolist()
        x, y = max(0, -left), max(0, -top)
        seen = BANK.atlas[number, :, :CANVAS_PX, :CANVAS_PX].permute(1, 2, 0).numpy()
        part = portrait.pixels[y + 40 : y + 200, x + 30 : x + 220]
        assert (seen[y + top + 40 : y + top + 200, x + left + 30 : x + left + 220] == part).all()
        np.testing.assert_allclose(BANK.landmarks[number] - BANK.origins[number], portrait.landmarks)
        center = BANK.boxes[number].reshape(2, 2).mean(0)
        assert (center - CANVAS_PX / 2).abs().max() <= 0.5
    assert [face.identity for face in BANK.faces] == ["p0", "p1", "p2"]
    half = BANK.atlas[0, :, : CANVAS_PX // 2, CANVAS_PX:].float()
    full = BANK.atlas[0, :, :, :CANVAS_PX].float()
    assert (half - torch.nn.functional.avg_pool2d(full, 2)).abs().max() <= 0.5


def test_a_large_face_is_scaled_down() -> None:
    large = drawn_portraits(1)[0]
    bank = build_bank(
        [
            replace(
                large,
                box=large.box * 2,
                landmarks=large.landmarks * 2,
                pixels=large.pixels.repeat(2, 0).repeat(2, 1),
            )
        ],
        CPU,
    )
    sides = bank.boxes[0, 2:] - bank.boxes[0, :2]
    assert float(sides.max()) == pytest.approx(224)


def test_a_batch_is_real_crops_and_their_fake_counterparts() -> None:
    pairs = 10
    drawn = changed(table(pairs), hole=0, noise=0, opacity=1, erode=0)
    batch = PairGenerator(BANK, RULE).make(drawn)
    assert batch.crops.shape == (20, 64, 64, 3) and batch.crops.dtype == torch.uint8
    assert batch.labels.tolist() == [0] * pairs + [1] * pairs
    assert batch.mask_coverage is not None and batch.mask_coverage.dtype == torch.uint8
    real, fake = batch.crops.float().chunk(2)
    coverage = batch.mask_coverage.float()
    assert not coverage[:pairs].any()
    difference = (real - fake).abs().mean(3)
    for number in range(pairs):
        inside = coverage[pairs + number] > 128
        assert inside.float().mean() > 0.01 and real[number].std() > 5
        assert difference[number][inside].mean() > difference[number][coverage[pairs + number] == 0].mean()


def test_a_batch_depends_on_its_table_alone() -> None:
    generator = PairGenerator(BANK, RULE)
    first, again = (generator.make(table(3)) for _ in range(2))
    assert torch.equal(first.crops, again.crops)
    assert not torch.equal(first.crops, generator.make(table(3, seed=1)).crops)
    # Without noise, a pair does not depend on its neighbors: the first ones stay when others are left out.
    drawn = changed(table(7), noise=0, forged_noise=0)
    fewer = generator.make(drawn.rows(np.array([3, 1]))).crops  # of different sizes: the smaller one first
    whole = generator.make(drawn).crops
    by_size = np.argsort(np.arange(7) % SIZE_BUCKETS, kind="stable").tolist()
    for number, row in enumerate((1, 3)):
        assert (fewer[number].float() - whole[by_size.index(row)].float()).abs().max() <= 1


def test_a_hole_hides_the_same_place_of_both() -> None:
    drawn = changed(table(5), hole=[10, 30, 5, 25], hole_color=[200, 10, 20])
    batch = PairGenerator(BANK, RULE).make(drawn)
    hole = batch.crops[:, 10:30, 5:25]
    assert (hole == torch.tensor([200, 10, 20], dtype=torch.uint8)).all()
    assert not (batch.crops[:, 30:, 25:] == torch.tensor([200, 10, 20])).all(3).any()


def test_every_switch_of_the_options_reaches_the_table() -> None:
    rng = np.random.default_rng(0)
    quiet = table(60)
    assert not quiet["motion_blur"].any() and (quiet["chroma_scale"] == 1).all()
    options = PairOptions(frozenset(["motion-blur", "heavy-compression", "head-pose"]), ("swap", "blotches"))
    loud = PairDrawer(BANK.faces, RULE, options).draw(rng, 60, 1.0)
    assert loud["motion_blur"].any() and (loud["chroma_scale"] < 1).any() and loud["earlier_quality"].any()
    assert loud["is_swap"].all()  # of the two kinds, the one that the device makes
    assert np.abs(loud["rotation"]).max() > 20
    batch = PairGenerator(BANK, RULE).make(loud.rows(np.arange(10)))
    assert batch.crops.float().std() > 10
    people = np.array([face.identity for face in BANK.faces])
    assert (people[loud["donor"].astype(int)] != people[loud["portrait"].astype(int)]).all()


def test_tables_are_distributed_as_the_recipes_and_degradations_of_the_cpu() -> None:
    rng = np.random.default_rng(1)
    drawn = table(600)
    recipes = [sample_recipe(rng, 1.0) for _ in range(600)]
    degradations = [sample_degradation(rng) for _ in range(600)]

    def agree(ours: npt.ArrayLike, theirs: npt.ArrayLike) -> None:
        a, b = np.asarray(ours, float), np.asarray(theirs, float)
        error = 4.5 * np.sqrt((a.var() + b.var()) / 600) + 1e-6
        assert abs(a.mean() - b.mean()) < error and 0.8 < (a.std() + 1e-6) / (b.std() + 1e-6) < 1.25

    agree(drawn["is_swap"], [recipe.kind == "swap" for recipe in recipes])
    agree(drawn["low_px"] > 0, [recipe.face_px is not None for recipe in recipes])
    agree(drawn["sharpen"], [recipe.sharpen for recipe in recipes])
    agree(drawn["blur"], [recipe.mask.blur for recipe in recipes])
    agree(drawn["h264_crf"] > 0, [one.h264_crf is not None for one in degradations])
    agree(drawn["all_scale"], [one.scale for one in degradations])
    crop_px = drawn["face_px"] * (1 + 2 * RULE.margin)
    uniform = np.log(crop_px / SMALLEST_CROP_PX) / np.log(LARGEST_CROP_PX / SMALLEST_CROP_PX)
    assert (
        uniform.min() >= -1e-4
        and uniform.max() <= 1 + 1e-4
        and uniform.mean() == pytest.approx(0.5, abs=0.03)
    )
    for bucket in range(SIZE_BUCKETS):  # each has as many pairs
        own = uniform[bucket::SIZE_BUCKETS] * SIZE_BUCKETS - bucket
        assert own.min() >= -1e-4 and own.max() <= 1 + 1e-4
    of_pairs = size_buckets(drawn, RULE)
    assert (of_pairs == np.arange(600) % SIZE_BUCKETS).mean() > 0.99  # but for rounding at the borders


@pytest.mark.parametrize("crop_px", [60.0, 100.0, 230.0])
def test_motion_blurs_a_face_as_on_the_cpu_whatever_the_view_s_side(crop_px: float) -> None:
    blur = MotionBlur(0.05, angle_degrees=0.0, defocus=0.01)
    drawn = changed(table(2), face_px=crop_px / (1 + 2 * RULE.margin), motion_blur=[0, 0, 0, 0])
    drawn["motion_blur"][1] = [blur.length, 0, 0, blur.defocus]
    (made,) = motion_kernels(drawn, RULE)
    np.testing.assert_allclose(made, blur.kernel(1.15 * crop_px), atol=1e-5)


def test_what_a_generator_cannot_make_is_refused() -> None:
    options = PairOptions(kinds=("regenerate", "blotches"))
    with pytest.raises(ValueError, match=r"kinds: got .'regenerate', 'blotches'., expected one of"):
        PairDrawer(BANK.faces, RULE, options)
    mixed = PairDrawer(BANK.faces, RULE, PairOptions(kinds=("swap", "blotches")))
    assert mixed.draw(np.random.default_rng(0), 12, 1.0)["is_swap"].all()


def test_algorithms_are_not_timed_and_the_other_switches_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    cudnn, seen = torch.backends.cudnn, []

    def noted(*arguments: Any, **named: Any) -> tuple[Tensor, Tensor, Tensor]:
        seen.append((cudnn.benchmark, cudnn.allow_tf32))
        return make_pairs(*arguments, **named)

    monkeypatch.setattr("deepfake_triton.training.device.generator.make_pairs", noted)
    monkeypatch.setattr(cudnn, "benchmark", True)
    monkeypatch.setattr(cudnn, "allow_tf32", False)
    PairGenerator(BANK, RULE).make(table(4))
    assert set(seen) == {(False, False)} and cudnn.benchmark
