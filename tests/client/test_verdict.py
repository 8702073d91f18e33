from __future__ import annotations

import cv2
import numpy as np
import pytest
from conftest import Portrait
from support import backdrop, pasted

from deepfake_triton.client.evidence import EvidenceRule, size_and_sharpness
from deepfake_triton.client.text import verdict_text
from deepfake_triton.client.verdict import (
    FaceVerdict,
    Latency,
    ModelInfo,
    Verdict,
    VideoVerdict,
    faces_from_answer,
    verdict_from_faces,
)
from deepfake_triton.preprocessing.video import FrameBatch

FRAMES = FrameBatch(np.zeros((4, 8, 8, 3), np.uint8), np.array([1.0, 1.5, 1.75, 3.0]), 3.5)
MODEL = ModelInfo("deepfake_detector", "2", "custom", "ab" * 32, operating_point=0.6)
LATENCY = Latency(1.0, 2.0, 3.0)
ANYTHING = EvidenceRule(min_frames=1, min_face_px=0, min_sharpness=0)


def judged(*probabilities: float, fault: str | None = None, weights: str = "custom") -> VideoVerdict:
    rows = max(1, len(probabilities))
    observed = np.full((rows, 4), bool(probabilities))
    faces = faces_from_answer(
        FRAMES,
        np.array(probabilities or (0.9,), np.float32)[:, None],
        np.zeros((rows, 4, 4), np.float32),
        observed,
    )
    model = ModelInfo("deepfake_detector", "2", weights, "ab" * 32, operating_point=0.6)
    return verdict_from_faces(
        "a.mp4",
        faces,
        model,
        ANYTHING,
        frames_decoded=4,
        duration_seconds=9.0,
        latency_ms=LATENCY,
        fault=fault,
    )


def test_the_most_suspicious_face_decides() -> None:
    verdict = judged(0.25, 0.75)
    assert verdict.verdict is Verdict.FAKE and verdict.fake_probability == 0.75
    assert [face.fake_probability for face in verdict.faces] == [0.25, 0.75]


@pytest.mark.parametrize(("probability", "expected"), [(0.59, "REAL"), (0.61, "FAKE")])
def test_the_models_operating_point_is_the_border(probability: float, expected: str) -> None:
    assert judged(probability).verdict.value == expected


def test_no_face_is_an_answer() -> None:
    verdict = judged()
    assert (verdict.verdict.value, verdict.reason, verdict.fake_probability, verdict.faces) == (
        "INCONCLUSIVE",
        "no_face",
        None,
        (),
    )


def test_a_cut_file_is_said_to_be_one() -> None:
    assert judged(0.7, fault="10 bytes are missing").as_dict()["reason"] == "truncated"
    assert judged(fault="10 bytes are missing").as_dict()["reason"] == "no_face"


def test_segments_span_the_frames_in_which_the_face_was_seen() -> None:
    observed = np.array([[True, True, False, False], [False, True, True, True]])
    boxes = np.arange(32, dtype=np.float32).reshape(2, 4, 4)
    faces = faces_from_answer(FRAMES, np.array([[0.1], [0.2]], np.float32), boxes, observed)
    assert [(f.segments[0].start_seconds, f.segments[0].end_seconds) for f in faces] == [
        (1, 1.75),
        (1.5, 3.5),
    ]
    assert [face.frames_observed for face in faces] == [2, 3]
    assert [face.box for face in faces] == [(0, 1, 2, 3), (20, 21, 22, 23)]


def test_the_documented_json() -> None:
    documented = judged(0.75).as_dict()
    assert list(documented) == [
        "video",
        "verdict",
        "fake_probability",
        "reason",
        "faces",
        "model",
        "frames_decoded",
        "duration_seconds",
        "latency_ms",
        "error",
    ]
    assert documented["faces"] == [
        {
            "track": 0,
            "verdict": "FAKE",
            "reason": None,
            "fake_probability": 0.75,
            "frames_observed": 4,
            "segments": [{"start_seconds": 1.0, "end_seconds": 3.5, "fake_probability": 0.75}],
        }
    ]
    assert documented["model"] == {
        "name": "deepfake_detector",
        "version": "2",
        "weights": "custom",
        "sha256": "ab" * 32,
    }
    assert documented["latency_ms"] == {"decode": 1.0, "infer": 2.0, "total": 3.0}


def test_untrained_weights_are_named_in_every_verdict() -> None:
    for probabilities in ((0.9,), (0.1,), ()):
        assert "means nothing" in verdict_text(judged(*probabilities, weights="untrained"))
        assert "means nothing" not in verdict_text(judged(*probabilities))


def face(probability: float, frames: int = 20, px: float = 100, sharpness: float = 100) -> FaceVerdict:
    return FaceVerdict(0, probability, frames, (), (0, 0, px, px), px, sharpness)


def concluded(*faces: FaceVerdict, num_frames: int = 20) -> tuple[str, str | None, float | None]:
    verdict = verdict_from_faces(
        "a.mp4",
        faces,
        MODEL,
        EvidenceRule(5, 40, 10),
        frames_decoded=num_frames,
        duration_seconds=9.0,
        latency_ms=LATENCY,
    )
    return verdict.verdict.value, verdict.reason, verdict.fake_probability


def test_a_face_that_shows_too_little_is_not_judged() -> None:
    assert concluded(face(0.9)) == ("FAKE", None, 0.9)
    assert concluded(face(0.9, frames=4)) == ("INCONCLUSIVE", "too_few_frames", None)
    assert concluded(face(0.9, px=39.9)) == ("INCONCLUSIVE", "face_too_small", None)
    assert concluded(face(0.9, sharpness=9.9)) == ("INCONCLUSIVE", "low_quality", None)
    assert concluded(face(0.9, frames=5, px=40, sharpness=10)) == ("FAKE", None, 0.9)


def test_in_a_clip_of_fewer_frames_all_of_them_are_enough() -> None:
    assert concluded(face(0.9, frames=2), num_frames=2) == ("FAKE", None, 0.9)
    assert concluded(face(0.9, frames=1), num_frames=2) == ("INCONCLUSIVE", "too_few_frames", None)


def test_the_most_suspicious_face_with_enough_evidence_decides() -> None:
    assert concluded(face(0.9, px=20), face(0.3), face(0.2)) == ("REAL", None, 0.3)
    assert concluded(face(0.3, px=20), face(0.9, frames=1)) == ("INCONCLUSIVE", "too_few_frames", None)


def test_size_and_sharpness_are_those_of_the_face(portrait: Portrait) -> None:
    picture = pasted(backdrop(240, 320), portrait.patch, 20, 10)
    box = np.array(portrait.face_at(20, 10), np.float32)
    frames, boxes = np.stack([picture] * 3), np.stack([box] * 3)
    boxes[1] = 0
    px, sharpness = size_and_sharpness(frames, boxes, np.array([0, 2]))
    assert px == pytest.approx(max(box[2] - box[0], box[3] - box[1]))
    blurred = np.stack([cv2.GaussianBlur(picture, (0, 0), 6)] * 3).astype(np.uint8)
    assert size_and_sharpness(blurred, boxes, np.array([0, 2]))[1] < 10 < sharpness
