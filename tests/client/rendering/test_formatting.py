"""What a verdict says to a person: its thresholds, and what was not judged."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deepfake_triton.client.detect.result_line import ResultLine
from deepfake_triton.client.rendering.formatting import credentials_text, verdict_text
from deepfake_triton.client.verdicts.assembly import verdict_from_faces
from deepfake_triton.client.verdicts.content_credentials import ContentCredentials, CredentialState
from deepfake_triton.client.verdicts.quality_gate import EvidenceRule
from deepfake_triton.client.verdicts.verdict import FaceVerdict, Latency, ModelInfo, Segment, VideoVerdict

pytestmark = pytest.mark.fast

MODEL = ModelInfo(
    "deepfake_detector",
    "2",
    "custom",
    "ab" * 32,
    operating_point=0.5,
    operating_point_name="balanced",
    real_at_most=0.25,
)


def face(track: int, probability: float, px: float = 100) -> FaceVerdict:
    segment = Segment(0.0, 2.0, probability)
    return FaceVerdict(track, probability, 20, (segment,), (1, 2, 3, 4), px, 100)


def judged(*faces: FaceVerdict, fault: str | None = None, left_out: int = 0) -> VideoVerdict:
    return verdict_from_faces(
        "a.mp4",
        faces,
        MODEL,
        evidence=EvidenceRule(),
        frames_decoded=20,
        duration_seconds=9.0,
        latency_ms=Latency(1.0, 2.0, 3.0),
        fault=fault,
        faces_left_out=left_out,
    )


@pytest.mark.parametrize(
    ("probability", "says"),
    [(0.125, "REAL"), (0.375, "INCONCLUSIVE (uncertain)"), (0.75, "FAKE")],
)
def test_a_verdict_names_its_two_borders(probability: float, says: str) -> None:
    verdict = judged(face(0, probability))
    said = f"a.mp4: {says}, probability of FAKE {probability:.3f} (balanced: REAL ≤ 0.25, FAKE ≥ 0.5)"
    assert verdict_text(verdict).splitlines()[0] == said
    assert ResultLine(verdict.as_dict()).text() == f"{said} (judged before)"
    assert "not judged" not in verdict_text(verdict)


def test_one_border_is_named_as_one() -> None:
    verdict = replace(judged(face(0, 0.125)), model=replace(MODEL, real_at_most=0.5))
    assert "(balanced: REAL < 0.5, FAKE ≥ 0.5)" in verdict_text(verdict)


def test_what_was_not_judged_is_said() -> None:
    verdict = judged(face(0, 0.125), face(1, 0.875, px=20), face(2, 0.75, px=20), fault="cut", left_out=3)
    lines = verdict_text(verdict).splitlines()
    assert lines[0].startswith("a.mp4: REAL, probability of FAKE 0.125 (balanced: ")
    assert lines[0].endswith("), truncated")
    assert lines[1].startswith("  face 0  0.125, seen in 20 of 20 frames")
    assert lines[2].startswith("  face 1  not judged (face_too_small), seen in") and "0.875" not in lines[2]
    assert lines[4] == (
        "  not judged: 2 faces (face_too_small), 3 faces too many or seen too briefly to be followed, "
        "the rest of a file that is cut or damaged"
    )


@pytest.mark.parametrize(
    ("credentials", "says"),
    [
        (None, ""),
        (ContentCredentials(CredentialState.NONE, reason="remote_manifest"), ""),
        (ContentCredentials(CredentialState.TRUSTED, "camera"), "by camera, unchanged since"),
        (
            ContentCredentials(CredentialState.VALID_UNKNOWN_SIGNER, "a\x1b[2J"),
            r"by a\x1b[2J, who is not known here; unchanged since",
        ),
        (
            ContentCredentials(CredentialState.INVALID, "camera", reason="assertion.bmffHash.mismatch"),
            "by camera, and altered afterwards (assertion.bmffHash.mismatch)",
        ),
        (ContentCredentials(CredentialState.INVALID, reason="unreadable"), "not valid (unreadable)"),
        (
            ContentCredentials(CredentialState.TRUSTED, "editor", claims_ai=True),
            "by editor, unchanged since; says that an AI made it or a part of it",
        ),
    ],
)
def test_content_credentials_take_a_line_when_there_are_some(
    credentials: ContentCredentials | None, says: str
) -> None:
    assert credentials_text(credentials) == says
    text = verdict_text(replace(judged(face(0, 0.125)), content_credentials=credentials))
    assert (f"  signed  {says}\n" in text) == bool(says)
