"""How often the linking splits a person or merges two, on photos of people who are known.

Each window shows a photo at a place, in a size and a light of its own, as after a cut: most videos ask less.
`pytest -s` prints the figures.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import pytest
from paths import SHARED

from deepfake_triton.client.verdicts.assembly import faces_from_answer
from deepfake_triton.client.verdicts.people import PersonLinker
from deepfake_triton.client.verdicts.verdict import FaceVerdict
from deepfake_triton.dataset_manifest import ManifestRow
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.preprocessing.faces import faces_from_detections
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch
from deepfake_triton.training.augmentation.camera_motion import Placement, render_view, view_matrix
from deepfake_triton.training.faces.portraits import Portrait, extract_portraits

FACES = SHARED / "faces"
FRAMES, SIZE = 3, (360, 640)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FACES.is_dir(), reason="no portraits beside the checkout to link"),
]


@pytest.fixture(scope="module")
def people(detector: Runner) -> list[list[Portrait]]:
    """The portraits of each person of whom there are several; the threshold was chosen on others."""
    with (FACES / "manifest.csv").open() as file:
        listed = [row for row in csv.DictReader(file) if row["split"] == "test"]
    names = [row["identity"] for row in listed]
    rows = [
        ManifestRow(row["file"], "real", row["identity"], row["source_repo"], "", "", "test")
        for row in listed
        if names.count(row["identity"]) > 1
    ]
    portraits, _ = extract_portraits(rows, FACES, detector)
    found = [[photo for photo in portraits if photo.identity == name] for name in dict.fromkeys(names)]
    return [photos for photos in found if len(photos) > 1]


def window(
    photo: Portrait, start: float, *, detector: Runner, rng: np.random.Generator
) -> Iterator[FaceVerdict]:
    """The face of a photo in a few frames, as the client has it."""
    face_px, x, y = rng.uniform(60, 160), rng.uniform(200, 440), rng.uniform(150, 210)
    gamma, gains, turn = np.exp(rng.normal(0, 0.3)), np.exp(rng.normal(0, 0.1, 3)), rng.uniform(-8, 8)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(50, 92))]
    frames = []
    for index in range(FRAMES):
        placement = Placement(face_px, (x + index, y), rotation_degrees=turn)
        view = render_view(photo, view_matrix(photo, placement), SIZE)
        lit = np.clip(255 * (view.pixels / 255) ** gamma * gains, 0, 255).astype(np.uint8)
        frames.append(cv2.imdecode(cv2.imencode(".jpg", lit, quality)[1], cv2.IMREAD_COLOR))
    batch = FrameBatch(np.stack(frames), start + np.arange(FRAMES) / 25, start + FRAMES / 25)
    detections = detector.infer({"frames": batch.data})["detections"]
    tracked = faces_from_detections(batch.data, detections, CropRule())
    probabilities = np.zeros((len(tracked.boxes), 1), np.float32)
    for face in faces_from_answer(batch, probabilities, boxes=tracked.boxes, observed=tracked.observed):
        middle = np.array(face.box).reshape(2, 2).mean(axis=0)
        if np.abs(middle - (x, y)).max() < face_px / 2:
            yield face


def people_found(photos: Sequence[Portrait], detector: Runner, seed: int) -> list[set[str]]:
    """Who is behind each of the linking's persons, in a video of one window for each photo."""
    rng, persons = np.random.default_rng(seed), PersonLinker()
    for index, photo in enumerate(photos):
        persons.add(tuple(window(photo, 4.0 * index, detector=detector, rng=rng)))
    starts = [[segment.start_seconds for segment in person.segments] for person in persons.verdicts()]
    return [{photos[int(start // 4)].identity for start in person} for person in starts]


def test_few_people_are_split_and_hardly_two_merged(people: list[list[Portrait]], detector: Runner) -> None:
    assert len(people) >= 8
    alone = {
        "one photo": [people_found([photos[0]] * 4, detector, seed) for seed, photos in enumerate(people)],
        "two photos": [people_found(photos[:2] * 2, detector, seed) for seed, photos in enumerate(people)],
    }
    pairs = [
        people_found([one[0], other[0]] * 2, detector, seed)
        for seed, (one, other) in enumerate(zip(people, people[1:] + people[:1], strict=True))
    ]
    split = {name: sum(len(found) > 1 for found in videos) for name, videos in alone.items()}
    merged = sum(any(len(person) > 1 for person in found) for found in pairs)
    print(f"of {len(people)} videos each: split {split}, two people merged {merged}")
    assert all(len(found) >= 1 for videos in alone.values() for found in videos)
    assert all(len(set[str]().union(*found)) == 2 for found in pairs)
    assert split["one photo"] <= 0.1 * len(people) and split["two photos"] <= 0.3 * len(people)
    assert merged <= 0.1 * len(people)
