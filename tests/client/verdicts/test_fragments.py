"""Who decides a verdict: persons seen in enough of the judged frames, and never a fragment alone."""

from __future__ import annotations

import numpy as np
import pytest

from deepfake_triton.client.verdicts.assembly import verdict_from_faces
from deepfake_triton.client.verdicts.quality_gate import EvidenceRule, fragment_limit
from deepfake_triton.client.verdicts.verdict import (
    FaceVerdict,
    Latency,
    ModelInfo,
    Segment,
    Sighting,
    VideoVerdict,
)

MODEL = ModelInfo("deepfake_detector", "1", "custom", "ab" * 32, operating_point=0.5)
pytestmark = pytest.mark.fast


def person(frames: int, probability: float) -> FaceVerdict:
    times = np.arange(frames) / 25
    box = (10.0, 10.0, 90.0, 90.0)
    sighting = Sighting(times, np.tile(np.array(box, np.float32), (frames, 1)), (640, 360), probability)
    segment = Segment(0.0, frames / 25, probability)
    return FaceVerdict(0, probability, frames, (segment,), box, 80.0, 50.0, sightings=(sighting,))


def judged(*faces: FaceVerdict, windows: int, frames: int = 20) -> VideoVerdict:
    return verdict_from_faces(
        "a.mp4",
        faces,
        MODEL,
        evidence=EvidenceRule(),
        frames_decoded=windows * frames,
        duration_seconds=60.0,
        latency_ms=Latency(1, 2, 3),
        num_windows=windows,
    )


def test_a_fragment_does_not_decide_beside_one_who_is_seen_more() -> None:
    verdict = judged(person(190, 0.1), person(9, 0.95), windows=10)
    assert (verdict.verdict.value, verdict.fake_probability) == ("REAL", 0.1)
    assert [face.reason for face in verdict.faces] == [None, "too_few_frames"]


@pytest.mark.parametrize("frames", [10, 20])
def test_a_forged_person_who_is_seen_in_half_a_window_or_one_decides(frames: int) -> None:
    verdict = judged(person(180, 0.1), person(frames, 0.95), windows=10)
    assert (verdict.verdict.value, verdict.fake_probability) == ("FAKE", 0.95)


def test_in_one_window_a_few_frames_decide_as_before() -> None:
    assert judged(person(12, 0.1), person(8, 0.95), windows=1).verdict.value == "FAKE"
    assert judged(person(15, 0.1), person(5, 0.95), windows=1).verdict.value == "FAKE"
    assert judged(person(16, 0.1), person(4, 0.95), windows=1).verdict.value == "REAL"


def test_who_is_seen_most_is_no_fragment() -> None:
    assert judged(person(7, 0.95), windows=10).verdict.value == "FAKE"
    assert judged(person(7, 0.1), person(6, 0.95), windows=10).verdict.value == "REAL"
    assert judged(person(7, 0.1), person(7, 0.95), windows=10).verdict.value == "FAKE"
    assert judged(person(4, 0.95), windows=10).reason == "too_few_frames"


@pytest.mark.parametrize(
    ("most", "frames", "windows", "expected"),
    [(100, 100, 5, 10), (100, 95, 5, 10), (6, 100, 5, 6), (20, 20, 1, 0), (0, 100, 5, 0), (5, 5, 5, 1)],
)
def test_half_a_window_is_needed(*, most: int, frames: int, windows: int, expected: int) -> None:
    assert fragment_limit(most, frames, windows) == expected
