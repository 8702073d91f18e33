"""Views of portraits, codecs, degradations, and the real–fake pairs that training draws."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import Portrait as Head
from drawn_crops import drawn_crops
from support import backdrop, pasted

from deepfake_triton import cli
from deepfake_triton.dataset_manifest import ManifestRow, read_manifest
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.training.augmentation.camera_motion import (
    Placement,
    render_view,
    restore_landmark_order,
    sample_camera_path,
    view_matrix,
)
from deepfake_triton.training.augmentation.codec import (
    h264_round_trip,
    h264_round_trip_stills,
    jpeg_round_trip,
)
from deepfake_triton.training.augmentation.degradations import Degradation, degrade
from deepfake_triton.training.augmentation.pairs import PairSampler
from deepfake_triton.training.faces.portraits import Portrait, extract_portraits
from deepfake_triton.training.forgery.colors import ColorJitter


@pytest.fixture(scope="module")
def portraits(portrait: Head, detector: Runner, tmp_path_factory: pytest.TempPathFactory) -> list[Portrait]:
    folder = tmp_path_factory.mktemp("photos")
    rows = []
    for index, patch in enumerate((portrait.patch, portrait.patch[:, ::-1])):
        photo = pasted(backdrop(360, 400), patch, 110, 80)
        cv2.imwrite(str(folder / f"{index}.jpg"), photo[..., ::-1])
        rows.append(ManifestRow(f"{index}.jpg", "real", f"person {index}", "s", "", "", "train"))
    cv2.imwrite(str(folder / "empty.jpg"), backdrop(200, 200))
    rows.append(ManifestRow("empty.jpg", "real", "nobody", "s", "", "", "train"))
    found, faults = extract_portraits(rows, folder, detector)
    assert faults == {"empty.jpg": "no face"}
    return found


@pytest.mark.fast
def test_a_portrait_has_its_face_where_its_box_says(portraits: list[Portrait]) -> None:
    for portrait in portraits:
        x1, y1, x2, y2 = portrait.box
        assert 0 <= x1 < x2 <= portrait.pixels.shape[1] and 0 <= y1 < y2 <= portrait.pixels.shape[0]
        eyes, mouth = portrait.landmarks[:2].mean(axis=0), portrait.landmarks[3:].mean(axis=0)
        assert y1 < eyes[1] < portrait.landmarks[2, 1] < mouth[1] < y2
        assert portrait.landmarks[0, 0] < portrait.landmarks[1, 0]


@pytest.mark.fast
@pytest.mark.parametrize(
    ("face_px", "rotation", "mirrored"), [(150, 0, False), (60, 8, False), (100, -6, True)]
)
def test_a_view_shows_the_face_where_it_says(
    portraits: list[Portrait], detector: Runner, *, face_px: float, rotation: float, mirrored: bool
) -> None:
    placement = Placement(face_px, (170.0, 150.0), rotation_degrees=rotation, mirrored=mirrored)
    view = render_view(portraits[0], view_matrix(portraits[0], placement), (320, 320))
    found = detector.infer({"frames": view.pixels[None]})["detections"][0, 0]
    assert found[4] > 0.5
    assert np.abs(found[:4] - view.box).max() < 0.15 * face_px
    landmarks = restore_landmark_order(view.landmarks, mirrored)
    assert np.abs(found[5:].reshape(5, 2) - landmarks).max() < 0.12 * face_px


@pytest.mark.fast
def test_a_path_moves_smoothly() -> None:
    path = sample_camera_path(np.random.default_rng(0), 20, face_px=100.0, size=(300, 300))
    centers = np.array([placement.center for placement in path])
    assert len(path) == 20 and np.abs(np.diff(centers, axis=0)).max() < 6


@pytest.mark.fast
def test_h264_keeps_the_image_and_worsens_with_its_rate_factor() -> None:
    frames = np.stack([np.roll(backdrop(97, 121), index, axis=1) for index in range(5)])
    fine, coarse = (h264_round_trip(frames, crf) for crf in (10, 45))
    assert fine.shape == frames.shape

    def errors(out: np.ndarray) -> float:
        return float(np.abs(out.astype(int) - frames).mean())

    assert errors(fine) < 6 < errors(coarse) or errors(fine) < 0.5 * errors(coarse)


@pytest.mark.fast
def test_stills_come_back_each_from_its_own_tile() -> None:
    colors = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (180, 180, 40), (90, 90, 90)]
    stills = [np.full((60 + 7 * i, 80 - 5 * i, 3), c, np.uint8) for i, c in enumerate(colors)]
    for still, out in zip(stills, h264_round_trip_stills(stills, 25), strict=True):
        assert out.shape == still.shape
        assert np.abs(out.astype(int) - still).mean() < 8


@pytest.mark.fast
def test_each_step_of_a_degradation_does_its_part() -> None:
    image = backdrop(100, 120)
    plain = Degradation(ColorJitter())
    assert (degrade(image, plain, 0) == image).all()
    assert degrade(image, Degradation(ColorJitter(), scale=0.5), 0).shape == (50, 60, 3)
    noisy = degrade(np.full((64, 64, 3), 128, np.uint8), Degradation(ColorJitter(), noise=5), 1)
    assert noisy.std() == pytest.approx(5, rel=0.1)
    assert (jpeg_round_trip(image, 30) != image).any()


@pytest.mark.fast
def test_pairs_are_drawn_by_seed_and_differ_in_the_face(portraits: list[Portrait]) -> None:
    sampler = PairSampler(portraits, CropRule(64, 0.05))
    batch, again = (drawn_crops(sampler, 5, pairs=6) for _ in range(2))
    assert batch.crops.shape == (12, 64, 64, 3) and batch.labels.tolist() == [0] * 6 + [1] * 6
    assert (batch.crops == again.crops).all()
    assert all((batch.crops[i] != batch.crops[6 + i]).any() for i in range(6))


@pytest.mark.compute
def test_pairs_carry_their_mask_coverage(portraits: list[Portrait]) -> None:
    sampler = PairSampler(portraits, CropRule(64, 0.05))
    inside, outside = [], []
    for seed in range(8):
        batch = drawn_crops(sampler, seed, pairs=6, strength=3.0)
        coverage = batch.mask_coverage
        assert coverage is not None and coverage.shape == (12, 64, 64)
        assert not coverage[:6].any() and coverage[6:].any(axis=(1, 2)).all()
        change = np.abs(batch.crops[6:].astype(int) - batch.crops[:6]).mean(axis=3)
        inside.append(change[coverage[6:] > 100].mean())
        outside.append(change[coverage[6:] == 0].mean())
    assert np.mean(inside) > 3 * np.mean(outside)  # the codec changes a little everywhere


@pytest.mark.fast
def test_a_clip_and_its_fake_counterpart_share_motion_and_codec(portraits: list[Portrait]) -> None:
    sampler = PairSampler(portraits, CropRule(64, 0.05))
    for seed in range(4):
        pair = sampler.draw_clip(np.random.default_rng(seed), portraits[0], 7)
        assert pair.real.shape == pair.fake.shape == (7, 64, 64, 3)
        corners = np.abs(pair.real[:, :3, :3].astype(int) - pair.fake[:, :3, :3]).mean()
        assert corners < 12  # the background is the same, up to the codec


@pytest.mark.compute
def test_still_clips_become_a_labeled_set(portrait: Head, tmp_path: Path) -> None:
    folder = tmp_path / "people"
    folder.mkdir()
    listed = ["file,identity,split"]
    for index in range(2):
        photo = pasted(backdrop(360, 400), portrait.patch, 90 + 30 * index, 80)
        cv2.imwrite(str(folder / f"{index}.jpg"), photo[..., ::-1])
        listed.append(f"{index}.jpg,person{index},test")
    (folder / "manifest.csv").write_text("\n".join(listed) + "\n")
    assert cli.main(["dataset", "index", str(folder), "--output", str(tmp_path / "m.csv")]) == 0
    report = json.loads((tmp_path / "m.report.json").read_text())
    assert report["counts"] == {"test people real": 2}
    arguments = ["dataset", "clips", str(tmp_path / "m.csv"), "--output", str(tmp_path / "clips")]
    assert cli.main([*arguments, "--frames", "6", "--clips", "2"]) == 0
    rows = read_manifest(tmp_path / "clips" / "manifest.csv")
    assert len(rows) == 8
    fakes = [row for row in rows if row.label == "fake"]
    assert {row.original for row in fakes} == {row.path for row in rows if row.label == "real"}
    assert all((tmp_path / "clips" / row.path).is_file() for row in rows)
