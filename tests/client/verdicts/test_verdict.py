from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from conftest import Portrait
from support import backdrop, pasted

from deepfake_triton.client.rendering.formatting import verdict_text
from deepfake_triton.client.verdicts.assembly import faces_from_answer, verdict_from_faces
from deepfake_triton.client.verdicts.quality_gate import EvidenceRule, size_and_sharpness
from deepfake_triton.client.verdicts.verdict import (
    FaceVerdict,
    Latency,
    ModelInfo,
    Verdict,
    VideoFailure,
    VideoVerdict,
)
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch

pytestmark = pytest.mark.fast

FRAMES = FrameBatch(np.zeros((4, 8, 8, 3), np.uint8), np.array([1.0, 1.5, 1.75, 3.0]), 3.5)
MODEL = ModelInfo("deepfake_detector", "2", "custom", "ab" * 32, operating_point=0.6)
BORDERED = replace(MODEL, operating_point_name="balanced", real_at_most=0.25)
LATENCY = Latency(1.0, 2.0, 3.0)
ANYTHING = EvidenceRule(min_frames=1, min_face_px=0, min_sharpness=0)


def judged(
    *probabilities: float, fault: str | None = None, model: ModelInfo = MODEL, faces_left_out: int = 0
) -> VideoVerdict:
    rows = max(1, len(probabilities))
    observed = np.full((rows, 4), bool(probabilities))
    faces = faces_from_answer(
        FRAMES,
        np.array(probabilities or (0.9,), np.float32)[:, None],
        boxes=np.zeros((rows, 4, 4), np.float32),
        observed=observed,
    )
    return verdict_from_faces(
        "a.mp4",
        faces,
        model,
        evidence=ANYTHING,
        frames_decoded=4,
        duration_seconds=9.0,
        latency_ms=LATENCY,
        fault=fault,
        faces_left_out=faces_left_out,
    )


def test_the_most_suspicious_face_decides() -> None:
    verdict = judged(0.25, 0.75)
    assert verdict.verdict is Verdict.FAKE and verdict.fake_probability == 0.75
    assert [face.fake_probability for face in verdict.faces] == [0.25, 0.75]


@pytest.mark.parametrize(("probability", "expected"), [(0.59, "REAL"), (0.61, "FAKE")])
def test_the_models_operating_point_is_the_border(probability: float, expected: str) -> None:
    assert judged(probability).verdict.value == expected


@pytest.mark.parametrize(
    ("probabilities", "verdict", "reason"),
    [
        ((0.25,), "REAL", None),
        ((0.26,), "INCONCLUSIVE", "uncertain"),
        ((0.59,), "INCONCLUSIVE", "uncertain"),
        ((0.61,), "FAKE", None),
        ((0.1, 0.5), "INCONCLUSIVE", "uncertain"),
        ((0.5, 0.9), "FAKE", None),
    ],
)
def test_between_its_two_borders_a_verdict_is_uncertain_and_a_number(
    probabilities: tuple[float, ...], verdict: str, reason: str | None
) -> None:
    found = judged(*probabilities, model=BORDERED)
    assert (found.verdict.value, found.reason) == (verdict, reason)
    assert found.fake_probability == pytest.approx(max(probabilities))
    most = max(found.faces, key=lambda face: face.fake_probability)
    assert (most.verdict, most.reason) == (found.verdict, found.reason)


def test_of_a_cut_file_too_an_uncertain_verdict_says_so() -> None:
    assert judged(0.5, model=BORDERED, fault="10 bytes are missing").reason == "uncertain"


def test_no_face_is_an_answer() -> None:
    verdict = judged()
    assert (verdict.verdict.value, verdict.reason, verdict.fake_probability, verdict.faces) == (
        "INCONCLUSIVE",
        "no_face",
        None,
        (),
    )


def test_a_face_that_was_left_out_is_no_missing_face() -> None:
    verdict = judged(faces_left_out=1)
    assert (verdict.verdict.value, verdict.reason) == ("INCONCLUSIVE", "too_few_frames")


def test_a_cut_file_is_said_to_be_one() -> None:
    assert judged(0.7, fault="10 bytes are missing").as_dict()["reason"] == "truncated"
    assert judged(fault="10 bytes are missing").as_dict()["reason"] == "no_face"


def test_segments_span_the_frames_in_which_the_face_was_seen() -> None:
    observed = np.array([[True, True, False, False], [False, True, True, True]])
    boxes = np.arange(32, dtype=np.float32).reshape(2, 4, 4)
    faces = faces_from_answer(FRAMES, np.array([[0.1], [0.2]], np.float32), boxes=boxes, observed=observed)
    assert [(f.segments[0].start_seconds, f.segments[0].end_seconds) for f in faces] == [
        (1, 1.75),
        (1.5, 3.5),
    ]
    assert [face.frames_observed for face in faces] == [2, 3]
    assert [face.box for face in faces] == [(0, 1, 2, 3), (20, 21, 22, 23)]


def test_the_documented_json() -> None:
    documented = judged(0.75, model=BORDERED, faces_left_out=2).as_dict()
    assert list(documented) == [
        "video",
        "verdict",
        "fake_probability",
        "reason",
        "faces",
        "faces_left_out",
        "model",
        "operating_point",
        "frames_decoded",
        "duration_seconds",
        "latency_ms",
        "content_credentials",
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
    thresholds = {"name": "balanced", "real_at_most": 0.25, "fake_at_least": 0.6}
    assert documented["operating_point"] == thresholds and documented["faces_left_out"] == 2


def test_a_line_of_a_failure_has_the_same_keys() -> None:
    unknown, known = (VideoFailure("a.mp4", "NotAVideo", "no", model).as_dict() for model in (None, BORDERED))
    assert list(unknown) == list(known) == list(judged(0.75).as_dict())
    assert unknown["operating_point"] is None and known["operating_point"]["real_at_most"] == 0.25
    assert unknown["faces_left_out"] is known["faces_left_out"] is None


def test_untrained_weights_are_named_in_every_verdict() -> None:
    for probabilities in ((0.9,), (0.1,), ()):
        assert "means nothing" in verdict_text(
            judged(*probabilities, model=replace(MODEL, weights="untrained"))
        )
        assert "means nothing" not in verdict_text(judged(*probabilities))


def face(probability: float, *, frames: int = 20, px: float = 100, sharpness: float = 100) -> FaceVerdict:
    return FaceVerdict(0, probability, frames, (), (0, 0, px, px), px, sharpness)


def concluded(*faces: FaceVerdict, num_frames: int = 20) -> tuple[str, str | None, float | None]:
    verdict = verdict_from_faces(
        "a.mp4",
        faces,
        MODEL,
        evidence=EvidenceRule(5, 40, 10),
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
    image = pasted(backdrop(240, 320), portrait.patch, 20, 10)
    box = np.array(portrait.face_at(20, 10), np.float32)
    frames, boxes = np.stack([image] * 3), np.stack([box] * 3)
    boxes[1] = 0
    px, sharpness = size_and_sharpness(frames, boxes, np.array([0, 2]))
    assert px == pytest.approx(max(box[2] - box[0], box[3] - box[1]))
    blurred = np.stack([cv2.GaussianBlur(image, (0, 0), 6)] * 3).astype(np.uint8)
    assert size_and_sharpness(blurred, boxes, np.array([0, 2]))[1] < 10 < sharpness
