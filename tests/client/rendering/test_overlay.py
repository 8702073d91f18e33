"""Overlays of small, tall and spoken videos: text that can be read, sound that stays in step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from support import write_clip

from deepfake_triton.arrays import Image
from deepfake_triton.client.rendering.colors import FAKE, NOT_JUDGED, REAL, UNSURE
from deepfake_triton.client.rendering.labels import Labels
from deepfake_triton.client.rendering.overlay import box_in_frame, short_verdict, write_overlay
from deepfake_triton.client.verdicts.assembly import verdict_from_faces
from deepfake_triton.client.verdicts.quality_gate import EvidenceRule
from deepfake_triton.client.verdicts.verdict import (
    FaceVerdict,
    Latency,
    ModelInfo,
    Segment,
    Sighting,
    Verdict,
    VideoVerdict,
)
from deepfake_triton.preprocessing.video.timed_frames import read_frames

pytestmark = pytest.mark.fast

MODEL = ModelInfo("m", "1", "custom", "ab" * 32, 0.5, operating_point_name="balanced", real_at_most=0.25)


def judged(size: tuple[int, int], *probabilities: float, frames: int = 5) -> VideoVerdict:
    """A face with a box in the middle of frames of that size (width, height), in each of the first frames."""
    box = np.array([[size[0] // 4, size[1] // 4, size[0] // 2, size[1] // 2]] * frames, np.float32)
    times = np.arange(frames) / 25
    faces = [
        FaceVerdict(
            track=track,
            fake_probability=probability,
            frames_observed=frames,
            segments=(Segment(0.0, frames / 25, probability),),
            box=tuple(box[0].tolist()),
            face_px=50.0,
            sharpness=50.0,
            sightings=(Sighting(times, box, size, probability),),
        )
        for track, probability in enumerate(probabilities)
    ]
    return verdict_from_faces(
        "a.mp4",
        faces,
        MODEL,
        evidence=EvidenceRule(),
        frames_decoded=frames,
        duration_seconds=1.0,
        latency_ms=Latency(1.0, 2.0, 3.0),
    )


def white_rows(image: Image) -> int:
    """The number of rows that hold pure white: the height of what was written, on a black image."""
    return int((image.min(axis=2) > 200).any(axis=1).sum())


@pytest.mark.parametrize("size", [(176, 144), (96, 320), (640, 360), (48, 48)])
def test_text_is_as_large_on_a_small_video(size: tuple[int, int], tmp_path: Path) -> None:
    blank = np.zeros((size[1], size[0], 3), np.uint8)
    clip = write_clip(tmp_path / "small.mp4", [blank] * 3)
    write_overlay(clip, judged(size, frames=3), tmp_path / "over.mp4")  # the headline alone
    images = [frame.pixels for frame in read_frames(tmp_path / "over.mp4")]
    assert len(images) == 3 and max(images[0].shape[:2]) == 640
    assert 11 <= white_rows(images[0]) <= 60
    assert images[0][:, -1].min(axis=1).max() < 200, "no letter is cut by the edge"


def test_a_label_says_person_verdict_and_percent() -> None:
    assert short_verdict(Verdict.FAKE, None, 0.94) == "FAKE 94 %"
    assert short_verdict(Verdict.REAL, None, 0.17) == "REAL, 17 % FAKE"
    assert short_verdict(Verdict.INCONCLUSIVE, "uncertain", 0.43) == "INCONCLUSIVE, 43 % FAKE"
    assert short_verdict(Verdict.INCONCLUSIVE, "low_quality", None) == "not judged (low_quality)"
    assert short_verdict(Verdict.FAKE, None, 0.999) == "FAKE >99 %"
    assert short_verdict(Verdict.REAL, None, 0.001) == "REAL, <1 % FAKE"


@pytest.mark.parametrize(("probability", "color"), [(0.9, FAKE), (0.1, REAL), (0.4, UNSURE)])
def test_boxes_have_the_color_of_the_verdict(
    probability: float, color: tuple[int, int, int], tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "a.mp4", [np.full((144, 176, 3), 128, np.uint8)] * 7)
    write_overlay(clip, judged((176, 144), probability), tmp_path / "over.mp4")
    images = [frame.pixels.astype(int) for frame in read_frames(tmp_path / "over.mp4")]
    factor = 640 / 176
    bottom, middle = round(72 * factor), round(66 * factor)
    assert np.abs(images[2][bottom, middle] - color).max() < 50
    assert np.abs(images[6][bottom, middle] - 128).max() < 10, "this frame was not judged"


def test_labels_stay_inside_and_apart() -> None:
    image = np.zeros((200, 320, 3), np.uint8)
    labels = Labels(image)
    texts = ("FAKE 94 %", "person 0: INCONCLUSIVE, 43 % FAKE and quite some more to say", "x" * 80)
    boxes = [labels.add(text, (300, 0, 318, 20), color=NOT_JUDGED) for text in texts]
    for x1, y1, x2, y2 in boxes:
        assert 0 <= x1 < x2 <= 320 and 0 <= y1 < y2 <= 200
    for one, other in ((0, 1), (0, 2), (1, 2)):
        a, b = boxes[one], boxes[other]
        assert a[3] <= b[1] or b[3] <= a[1] or a[2] <= b[0] or b[2] <= a[0]
    assert cv2.countNonZero((image.min(axis=2) > 250).astype(np.uint8)) > 100


def test_labels_of_a_crowd_lie_on_no_face(tmp_path: Path) -> None:
    size, columns, rows = (640, 480), 4, 2
    boxes = [
        (x, y, x + 50, y + 60) for y in range(100, 480, 480 // rows) for x in range(20, 640, 640 // columns)
    ]
    base = judged(size, *[0.99] * len(boxes))
    faces = [
        replace(
            face,
            box=box,
            sightings=(replace(face.sightings[0], boxes=np.array([box] * 5, np.float32)),),
        )
        for face, box in zip(base.faces, boxes, strict=True)
    ]
    clip = write_clip(tmp_path / "a.mp4", [np.zeros((480, 640, 3), np.uint8)] * 5)
    heights = []
    for count in (2, len(boxes)):
        write_overlay(clip, replace(base, faces=tuple(faces[:count])), tmp_path / "over.mp4")
        image = next(iter(read_frames(tmp_path / "over.mp4"))).pixels.astype(int)
        for x1, y1, x2, y2 in boxes[:count]:
            assert image[y1 + 8 : y2 - 8, x1 + 8 : x2 - 8].max() < 60, "a label lies on this face"
        _, y1, x2, _ = boxes[0]
        heights.append(int((image[y1 - 40 : y1 - 2, x2 + 10, 0] > 100).sum()))
    assert heights[0] >= 20 and 0.4 < heights[1] / heights[0] < 0.6


def test_labels_avoid_other_faces() -> None:
    image = np.zeros((480, 640, 3), np.uint8)
    above, face = (100, 60, 300, 95), (100, 100, 200, 200)
    placed_on_top = Labels(image).add("person 0: FAKE", face, color=FAKE)
    below = Labels(image, [above, face]).add("person 0: FAKE", face, color=FAKE)
    assert placed_on_top[3] == 100 and below[1] == 200


def test_a_box_stays_on_its_face_where_bars_are_around_the_frame() -> None:
    box = np.array([10, 20, 50, 60], np.float32)
    assert box_in_frame(box, sent=(320, 240), drawn=(640, 480), own=(320, 240)) == (20, 40, 100, 120)
    # A frame of 120 x 240 px in the middle of one of 320 x 240 px, drawn into one of 640 x 640 px.
    inner = np.array([100, 0, 220, 240], np.float32)
    placed = box_in_frame(inner, sent=(320, 240), drawn=(640, 640), own=(120, 240))
    assert placed == (160, 0, 480, 640)
