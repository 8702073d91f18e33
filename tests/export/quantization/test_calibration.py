from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import Portrait
from support import backdrop, pasted

from deepfake_triton.contracts import DETECTIONS, FRAMES
from deepfake_triton.errors import CalibrationError
from deepfake_triton.export.quantization.calibration import bundled_portraits, collect_calibration_faces
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.preprocessing.detections import FaceRule, faces_in_frame

pytestmark = pytest.mark.compute

RULE = CropRule(64, 0.1)


@pytest.fixture(scope="module")
def photos(portrait: Portrait, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty photos with a face each, at two depths, one without a face, and a text."""
    folder = tmp_path_factory.mktemp("photos")
    for index in range(40):
        place = folder / ("a/b" if index % 2 else "c")
        place.mkdir(parents=True, exist_ok=True)
        image = pasted(backdrop(240, 320, index), portrait.patch, 20 + 3 * index, 30)
        cv2.imwrite(str(place / f"{index:02}.png"), image[..., ::-1])
    cv2.imwrite(str(folder / "empty.jpg"), backdrop(200, 200))
    (folder / "notes.txt").write_text("no image")
    return folder


def test_faces_are_cut_from_folders_of_any_depth(photos: Path, detector: Runner) -> None:
    found = collect_calibration_faces([photos], detector, RULE, samples=256, seed=0)
    assert found.crops.shape == (40, 64, 64, 3) and found.crops.dtype == np.uint8
    assert len(found.frames) == 40 and found.unused == 1
    assert all(frames.shape == (1, 240, 320, 3) for frames in found.frames)


def test_every_bundled_portrait_shows_a_face_that_is_smaller_than_it(detector: Runner) -> None:
    found = collect_calibration_faces([bundled_portraits()], detector, RULE, samples=256, seed=0)
    assert (len(found.crops), len(found.frames), found.unused) == (40, 40, 0)
    for frames in found.frames:
        (candidates,) = detector.infer({FRAMES.name: frames})[DETECTIONS.name]
        (box,) = faces_in_frame(candidates, FaceRule())[:, :4]
        assert frames.shape == (1, 256, 256, 3) and 90 < max(box[2:] - box[:2]) < 190


def test_the_seed_chooses(photos: Path, detector: Runner) -> None:
    first, again, other = (
        collect_calibration_faces([photos], detector, RULE, samples=32, seed=seed) for seed in (1, 1, 2)
    )
    assert np.array_equal(first.crops, again.crops) and len(first.crops) == 32
    assert not np.array_equal(first.crops, other.crops)


def test_videos_give_frames_from_all_over(clip_path: Path, detector: Runner) -> None:
    found = collect_calibration_faces([clip_path], detector, RULE, samples=64, seed=0)
    assert found.crops.shape == (64, 64, 64, 3)


def test_too_little_is_refused(photos: Path, detector: Runner, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="20 faces in 20 videos and photos, expected at least 32"):
        collect_calibration_faces([photos / "c"], detector, RULE, samples=256, seed=0)
    with pytest.raises(CalibrationError, match="no such file or folder"):
        collect_calibration_faces([tmp_path / "nothing"], detector, RULE, samples=256, seed=0)
    with pytest.raises(CalibrationError, match="got 8, expected at least 32"):
        collect_calibration_faces([photos], detector, RULE, samples=8, seed=0)
    with pytest.raises(CalibrationError, match="0 faces in 0 videos"):
        collect_calibration_faces([tmp_path], detector, RULE, samples=256, seed=0)
