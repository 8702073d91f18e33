"""The device's functions against the CPU's, given the same parameters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from drawn_portraits import drawn_portraits
from torch import Tensor

from deepfake_triton.arrays import Image
from deepfake_triton.preprocessing.crops import CropRule, crop_face
from deepfake_triton.training.augmentation.augment import move_face, render_varied_view, sample_variation
from deepfake_triton.training.augmentation.camera_motion import (
    Placement,
    View,
    restore_landmark_order,
    view_matrix,
)
from deepfake_triton.training.augmentation.codec import h264_round_trip_stills, jpeg_round_trip
from deepfake_triton.training.augmentation.degradations import (
    Degradation,
    EarlierCompression,
    degrade_alike,
)
from deepfake_triton.training.augmentation.motion_blur import MotionBlur
from deepfake_triton.training.augmentation.pair_draws import VIEW_PER_CROP
from deepfake_triton.training.device.codecs.h264_frame import h264_frames
from deepfake_triton.training.device.codecs.jpeg import jpeg_round_trips
from deepfake_triton.training.device.colors import jitter_colors, transfer_colors
from deepfake_triton.training.device.crops import crop_faces, group_by_samples, samples_per_pixel
from deepfake_triton.training.device.degrading import degrade_pairs
from deepfake_triton.training.device.drawing import (
    degradation_parameters,
    forgery_parameters,
    view_parameters,
)
from deepfake_triton.training.device.forging import forge_views
from deepfake_triton.training.device.generator import _upload
from deepfake_triton.training.device.masks import draw_masks
from deepfake_triton.training.device.pair_table import COLUMNS, PairTable, Parameters, pack_row
from deepfake_triton.training.device.portrait_bank import build_bank
from deepfake_triton.training.device.views import Views, render_views
from deepfake_triton.training.forgery import colors
from deepfake_triton.training.forgery.blending import Donor, forge_with_mask
from deepfake_triton.training.forgery.kinds import CLASSIC_KINDS
from deepfake_triton.training.forgery.masks import draw_mask
from deepfake_triton.training.forgery.recipe import ForgeryRecipe, sample_recipe

pytestmark = pytest.mark.compute

CPU = torch.device("cpu")
PORTRAITS = drawn_portraits(4)
BANK = build_bank(PORTRAITS, CPU)
RULE = CropRule(112, 0.05)
KEPT = Degradation(colors.ColorJitter())


def psnr(one: npt.NDArray[np.generic], other: npt.NDArray[np.generic]) -> float:
    error = np.mean((one.astype(float) - other.astype(float)) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def tensor(image: Image) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()


def array(images: Tensor, number: int = 0) -> npt.NDArray[np.float32]:
    return np.asarray(images[number].permute(1, 2, 0).numpy())


class Case:
    """A drawn view and forgery of a portrait, and its row on the device."""

    def __init__(self, seed: int, side: int, degradation: Degradation = KEPT) -> None:
        rng = np.random.default_rng(seed)
        self.side, self.degradation = side, degradation
        portrait = PORTRAITS[seed % len(PORTRAITS)]
        donor_number = (seed + 1) % len(PORTRAITS)
        variation = sample_variation(rng, portrait)
        moved, is_mirrored = move_face(portrait, variation), bool(seed % 2)
        placement = Placement(
            face_px=side / 1.27,
            center=(side / 2, side / 2),
            rotation_degrees=float(rng.normal(0, 6)),
            stretch=(1.05, 0.03),
            mirrored=is_mirrored,
        )
        matrix = view_matrix(moved, placement)
        view = render_varied_view(moved, variation, matrix=matrix, size=(side, side))
        landmarks = restore_landmark_order(view.landmarks, is_mirrored)
        self.view: View = replace(view, landmarks=landmarks)
        kind = CLASSIC_KINDS[seed % len(CLASSIC_KINDS)]
        self.recipe: ForgeryRecipe = replace(sample_recipe(rng, 1.0, kind), noise=0.0, checkerboard=0.0)
        donor = PORTRAITS[donor_number]
        self.donor = Donor(donor.pixels, donor.landmarks)
        row = pack_row(
            view_parameters(variation, placement)
            | forgery_parameters(self.recipe)
            | degradation_parameters(degradation)
            | {"portrait": seed % len(PORTRAITS), "donor": donor_number, "move": np.zeros(4)}
            | {"hole": np.zeros(4), "hole_color": np.zeros(3)}
        )
        self.table = PairTable(row[None])
        self.rows = Parameters(torch.from_numpy(row[None]))

    def views(self) -> Views:
        """The CPU's view, on the device."""
        box = torch.from_numpy(self.view.box)[None].float()
        return Views(tensor(self.view.pixels), box, torch.from_numpy(self.view.landmarks)[None].float())


@pytest.mark.parametrize(("side", "least_db"), [(272, 50), (208, 50), (96, 30), (64, 30)])
def test_views_agree(side: int, least_db: float) -> None:
    # Below 0.6 of a portrait's size, the CPU averages to the very size, the device to a half or a quarter.
    for seed in range(4):
        case = Case(seed, side)
        made = render_views(BANK, case.rows, side)
        assert psnr(array(made.pixels), case.view.pixels) > least_db
        np.testing.assert_allclose(made.landmarks[0], case.view.landmarks, atol=0.06)
        np.testing.assert_allclose(made.boxes[0], case.view.box, atol=0.06)


def test_masks_agree() -> None:
    for seed in range(8):
        case = Case(seed, 208)
        recipe = replace(case.recipe, jitter_amount=0.0)
        row = Parameters(torch.from_numpy(pack_row(_columns(case) | forgery_parameters(recipe))[None]))
        expected = draw_mask(recipe.mask, case.view.landmarks, (208, 208))
        mask = draw_masks(row, case.views().landmarks, 208)[0].numpy()
        assert expected.sum() > 100
        assert mask.sum() == pytest.approx(expected.sum(), rel=0.03)
        assert np.abs(mask - expected).mean() < 0.005


def _columns(case: Case) -> dict[str, npt.ArrayLike]:
    return {name: case.table[name][0] for name in COLUMNS}


def test_forgeries_agree() -> None:
    """In a large view: where a donor shrinks, the CPU does not average it."""
    for seed in range(12):
        case = Case(seed, 272)
        is_swap = case.recipe.kind == "swap"
        fake, coverage = forge_with_mask(case.view.pixels, case.view.landmarks, case.recipe, donor=case.donor)
        swaps = torch.tensor([0] if is_swap else [], dtype=torch.long)
        made = forge_views(BANK, case.rows, case.views(), swaps=swaps, noise=torch.Generator())
        seen = coverage > 8
        change = np.abs(fake.astype(float) - case.view.pixels)[seen].mean()
        error = np.abs(array(made.pixels) - fake)[seen].mean()
        assert seen.any() and error < max(0.8, 0.2 * change), (case.recipe.kind, error, change)
        assert psnr(array(made.pixels), fake) > 38
        assert np.abs(255 * made.coverage[0].numpy() - coverage).mean() < 1
        away = coverage == 0
        assert np.abs(array(made.pixels) - fake)[away].mean() < 0.05


def test_color_jitter_and_transfer_agree() -> None:
    rng = np.random.default_rng(0)
    source, reference = (Case(seed, 208).view.pixels for seed in (0, 1))
    jitter = colors.sample_color_jitter(rng, 1.0)
    matrix = torch.from_numpy(jitter.matrix()).float()[None]
    made = array(jitter_colors(tensor(source), matrix, torch.tensor([jitter.gamma])))
    expected = colors.apply_color_jitter(source, jitter)
    assert psnr(expected, source) < 35 and np.abs(made - expected).max() <= 2
    assert np.abs(made - expected).mean() < 0.05
    mask = np.zeros((208, 208), np.float32)
    mask[40:160, 50:150] = 1
    toned = colors.transfer_colors(source, reference, mask)
    made = array(transfer_colors(tensor(source), tensor(reference), torch.from_numpy(mask)[None]))
    assert psnr(toned, source) < 30 and psnr(made, toned) > 34
    assert abs((made - toned).mean()) < 1
    nothing = torch.zeros(1, 208, 208)
    assert torch.equal(transfer_colors(tensor(source), tensor(reference), nothing), tensor(source))


@pytest.mark.parametrize(
    ("degradation", "least_db"),
    [
        (Degradation(colors.ColorJitter((1.1, 0.9, 1.0), (5, -8, 3), saturation=1.2, gamma=0.9)), 45),
        (replace(KEPT, scale=0.55), 40),
        (replace(KEPT, blur_px=1.3), 45),
        (replace(KEPT, motion_blur=MotionBlur(0.04, angle_degrees=30, bend_degrees=40, defocus=0.01)), 45),
        (replace(KEPT, earlier=EarlierCompression(50, 0.7)), 38),
        (replace(KEPT, chroma_scale=0.3), 38),
        (replace(KEPT, scale=0.6, jpeg_quality=60), 36),
    ],
)
def test_degradations_agree(degradation: Degradation, least_db: float) -> None:
    case = Case(1, 208, degradation)
    real, fake = case.view.pixels, case.view.pixels[:, ::-1]
    blur = degradation.motion_blur
    if blur:
        view_px = VIEW_PER_CROP * (1 + 2 * RULE.margin) * float(case.table["face_px"][0])
        degradation = replace(degradation, motion_blur=blur.scaled(view_px / 208))
    expected = degrade_alike([real, fake], degradation, 0)
    if degradation.jpeg_quality:
        expected = [jpeg_round_trip(image, degradation.jpeg_quality) for image in expected]
    rows, _, steps = _upload(case.table, RULE, CPU)
    images = torch.cat([tensor(real), tensor(fake)])
    made, scale = degrade_pairs(images, rows, steps, noise=torch.Generator())
    assert float(scale) == pytest.approx(expected[0].shape[0] / 208)
    for number, image in enumerate(expected):
        height, width = image.shape[:2]
        assert psnr(array(made, number)[:height, :width], image) > least_db
        if height < 208:
            np.testing.assert_array_equal(array(made, number)[height + 16 :, 0].std(axis=0) < 9, True)


def test_noise_is_the_same_in_both_pictures_and_as_strong_as_drawn() -> None:
    case = Case(0, 208, replace(KEPT, noise=6))
    gray = torch.full((1, 3, 208, 208), 128.0)
    rows, _, steps = _upload(case.table, RULE, CPU)
    real, fake = degrade_pairs(torch.cat([gray, gray]), rows, steps, noise=torch.Generator().manual_seed(3))[
        0
    ]
    assert torch.equal(real, fake) and float(real.std()) == pytest.approx(6, rel=0.02)
    assert float(real.mean()) == pytest.approx(128, abs=0.1)


def textured(seed: int) -> Image:
    """A view with as much detail as a face has."""
    return np.asarray(Case(seed, 208).view.pixels)


@pytest.mark.parametrize("quality", [15, 40, 70, 95])
def test_jpeg_loses_as_much_as_libjpeg(quality: int) -> None:
    for seed in range(3):
        image = textured(seed)
        expected = jpeg_round_trip(image, quality)
        made = array(jpeg_round_trips(tensor(image), torch.tensor([float(quality)])))
        assert psnr(made, image) == pytest.approx(psnr(expected, image), abs=1.0 if quality > 90 else 0.4)
        assert psnr(made, expected) > psnr(expected, image) + 3
        assert np.abs((made - expected).mean(axis=(0, 1))).max() < 0.5


@pytest.mark.parametrize("crf", [18, 23, 28, 33, 39, 45])
def test_a_frame_loses_about_as_much_as_in_x264(crf: int) -> None:
    images = [textured(seed) for seed in range(4)]
    expected = h264_round_trip_stills(images, crf)
    made = h264_frames(torch.cat([tensor(image) for image in images]), torch.full((4,), float(crf)))
    theirs = np.mean([psnr(a, b) for a, b in zip(expected, images, strict=True)])
    ours = np.mean([psnr(array(made, i), image) for i, image in enumerate(images)])
    assert ours == pytest.approx(theirs, abs=1.0)
    bias = np.mean([(array(made, i) - image).mean() for i, image in enumerate(images)])
    assert abs(bias) < 1


@pytest.mark.parametrize("side", [64, 112])
def test_crops_agree(side: int) -> None:
    rule, image = CropRule(side, 0.05), textured(0)
    boxes = np.array([[30.3, 20.1, 150.7, 180.9], [-20.0, 60, 70, 150], [100, 100, 130, 140]])
    expected = np.stack([crop_face(image, box, rule) for box in boxes])
    images = tensor(image).expand(3, -1, -1, -1)
    at = torch.from_numpy(boxes).float()
    made = crop_faces(images, at, rule, samples=3).permute(0, 2, 3, 1).numpy()
    for crop, known in zip(made, expected, strict=True):
        assert psnr(crop, known) > 38
    shifted = crop_faces(images, at + 2, rule, samples=3).permute(0, 2, 3, 1).numpy()
    assert psnr(shifted[0], expected[0]) < 30  # two pixels would be seen


def test_as_many_places_are_averaged_as_on_the_cpu() -> None:
    rule, counts = CropRule(64, 0.05), []
    for seed, scale in enumerate((1.0, 0.8, 0.45, 0.3)):
        case = Case(seed, 272, replace(KEPT, scale=scale))
        actual = round(272 * scale) / 272
        x1, y1, x2, y2 = case.view.box * actual
        expected = max(1, int(np.ceil(max(x2 - x1, y2 - y1) * 1.1 / 64 - 1e-6)))
        assert samples_per_pixel(case.table, rule, side=272).tolist() == [expected]
        counts.append(expected)
    assert counts == [4, 3, 2, 2]
    groups = group_by_samples(np.array([1, 3, 1]))
    assert {count: chosen.tolist() for count, chosen in groups.items()} == {1: [0, 2, 3, 5], 3: [1, 4]}
