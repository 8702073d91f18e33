"""What the options of pairs change, and what they leave alone."""

from __future__ import annotations

import argparse

import numpy as np
import pytest
from drawn_crops import drawn_crops

from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.training.augmentation.edits.edits import Edits, apply_edits
from deepfake_triton.training.augmentation.edits.overlay import Overlay
from deepfake_triton.training.augmentation.pair_draws import LARGEST_ROLL_DEGREES, EditedPair, PairDraws
from deepfake_triton.training.augmentation.pair_options import AUGMENTATIONS, Augmentation, PairOptions
from deepfake_triton.training.augmentation.pairs import PairSampler
from deepfake_triton.training.commands.pair_arguments import add_pair_arguments, pair_options_from
from deepfake_triton.training.faces.portraits import Portrait
from deepfake_triton.training.forgery.kinds import CLASSIC_KINDS, KINDS

pytestmark = pytest.mark.fast

RULE = CropRule(64, 0.05)


def portrait(number: int) -> Portrait:
    """Draw a flat head of a color of its own, with eyes and a mouth, before noise."""
    rng = np.random.default_rng(number)
    pixels = rng.integers(90, 130, (320, 280, 3)).astype(np.uint8)
    pixels[80:260, 70:210] = rng.integers(150, 200, 3)
    for x, y in ((110, 140), (170, 140), (125, 215), (155, 215)):
        pixels[y - 5 : y + 5, x - 10 : x + 10] = (60, 30, 30)
    points = np.array([[110, 140], [170, 140], [140, 180], [120, 215], [160, 215.0]])
    return Portrait(pixels, np.array([70, 80, 210, 260.0]), points, f"{number}.jpg", f"person {number}")


def sampler(*augmentations: Augmentation, temporal: bool = False) -> PairSampler:
    options = PairOptions(frozenset(augmentations), temporal=temporal)
    return PairSampler([portrait(0), portrait(1)], RULE, options=options)


def test_no_options_are_the_default() -> None:
    default = PairSampler([portrait(0), portrait(1)], RULE)
    assert (drawn_crops(sampler(), 3, pairs=4).crops == drawn_crops(default, 3, pairs=4).crops).all()


@pytest.mark.parametrize("augmentation", [name for name in AUGMENTATIONS if name != "expressions"])
def test_every_augmentation_changes_pairs_and_depends_on_the_seed_alone(augmentation: Augmentation) -> None:
    plain, changed = (drawn_crops(one, 5, pairs=12).crops for one in (sampler(), sampler(augmentation)))
    again = drawn_crops(sampler(augmentation), 5, pairs=12).crops
    assert (changed == again).all()
    assert (changed != plain).any(axis=(1, 2, 3)).mean() > 0.3


def test_expressions_leave_portraits_without_a_mesh_alone() -> None:
    crops, plain_crops = (drawn_crops(one, 5, pairs=6).crops for one in (sampler("expressions"), sampler()))
    assert (crops == plain_crops).all()
    clip, plain = (
        one.draw_clip(np.random.default_rng(1), portrait(0), 3) for one in (sampler("expressions"), sampler())
    )
    assert (clip.real == plain.real).all() and (clip.fake == plain.fake).all()


@pytest.mark.parametrize("augmentation", ["edits", "head-pose", "motion-blur"])
def test_a_real_face_and_its_counterpart_get_the_same(augmentation: Augmentation) -> None:
    """Outside of what is forged, pairs differ by no more than without the augmentation, up to the codec."""
    differences = {}
    for name, one in (("plain", sampler()), ("changed", sampler(augmentation))):
        batch = drawn_crops(one, 9, pairs=24)
        assert batch.mask_coverage is not None
        far = batch.mask_coverage[24:] == 0
        change = np.abs(batch.crops[24:].astype(int) - batch.crops[:24]).mean(axis=3)
        differences[name] = float(change[far].mean())
    assert differences["changed"] < 1.5 * differences["plain"] + 1.5


def test_a_face_is_blurred_as_much_in_views_of_any_side() -> None:
    still, turned = (
        PairDraws(PairOptions(frozenset(names))) for names in (("motion-blur",), ("motion-blur", "head-pose"))
    )
    blurred = 0
    for seed in range(40):
        usual = still.degradation(np.random.default_rng(seed), view_scale=still.view_scale).motion_blur
        if usual is None:
            continue
        for view_scale in (turned.view_scale, 1.3):
            wide = turned.degradation(np.random.default_rng(seed), view_scale=view_scale).motion_blur
            assert wide is not None and view_scale > still.view_scale
            kernels = usual.kernel(115), wide.kernel(100 * view_scale)
            np.testing.assert_allclose(*kernels, atol=1e-5)
        blurred += 1
    assert blurred > 5


def test_heads_are_tilted_to_both_sides_up_to_a_bound() -> None:
    rng = np.random.default_rng(0)
    tilted = np.array([PairDraws(PairOptions(frozenset({"head-pose"}))).roll(rng, 6.0) for _ in range(2000)])
    plain = np.array([PairDraws(PairOptions()).roll(rng, 6.0) for _ in range(2000)])
    assert np.abs(tilted).max() <= LARGEST_ROLL_DEGREES
    assert (tilted < -20).mean() > 0.05 and (tilted > 20).mean() > 0.05
    assert plain.std() == pytest.approx(6, rel=0.2)


def test_an_overlay_that_hides_the_whole_forgery_is_left_out() -> None:
    real = np.full((80, 80, 3), 120, np.uint8)
    fake = real.copy()
    fake[40:48, 40:48] += 40
    cover = Overlay("bar", center=(0.0, 0.5), size=4.0, color=(9, 9, 9), second_color=(9, 9, 9))
    points = np.array([[32, 36], [52, 36], [42, 44], [35, 52], [49, 52.0]])
    out = EditedPair(last=Edits(overlays=(cover,))).after([real, fake], points)
    assert (out[0] == real).all() and (out[1] == fake).all()
    seen = Edits(overlays=(Overlay("bar", (0.0, 0.5), 4.0, (9, 9, 9), (9, 9, 9), alpha=0.3),))
    out = EditedPair(last=seen).after([real, fake], points)
    assert (out[0] == apply_edits([real], seen, landmarks=points)[0]).all() and (out[0] != real).any()


def test_an_overlay_is_in_all_frames_of_a_clip_or_in_none() -> None:
    real = np.full((80, 80, 3), 120, np.uint8)
    hidden, seen = real.copy(), real.copy()
    hidden[40:48, 40:48] += 40
    seen[4:20, 4:76] += 40
    cover = Overlay("bar", center=(0.0, 0.5), size=0.8, color=(9, 9, 9), second_color=(9, 9, 9))
    points = np.array([[32, 36], [52, 36], [42, 44], [35, 52], [49, 52.0]])
    edited = EditedPair(last=Edits(overlays=(cover,)))
    for fakes in ([seen, hidden], [hidden, hidden]):
        out = edited.after_frames([[real, fake] for fake in fakes], [points] * 2)
        covered = [bool((pair[0] != real).any()) for pair in out]
        assert covered == [fakes[0] is seen] * 2


def test_options_are_read_from_the_command_line() -> None:
    parser = argparse.ArgumentParser()
    add_pair_arguments(parser)
    assert pair_options_from(parser.parse_args([])) == PairOptions()
    every = pair_options_from(
        parser.parse_args(["--augmentations", "all", "--forgeries", "all", "--temporal"])
    )
    assert every == PairOptions(frozenset(AUGMENTATIONS), KINDS, temporal=True)
    some = pair_options_from(
        parser.parse_args(["--augmentations", "edits,head-pose", "--forgeries", "swap,blotches"])
    )
    assert some.augmentations == {"edits", "head-pose"} and some.kinds == ("swap", "blotches")
    classic = parser.parse_args(["--augmentations", "none", "--forgeries", "classic"])
    assert pair_options_from(classic).kinds == CLASSIC_KINDS and not pair_options_from(classic).augmentations


@pytest.mark.parametrize("given", ["edit", "edits,", "none,edits", ""])
def test_unknown_names_are_refused(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_pair_arguments(parser)
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args(["--augmentations", given])
    assert "expected all, none, head-pose" in capsys.readouterr().err
