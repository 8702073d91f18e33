"""Lines of results: read again, and compared with what would be asked today."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deepfake_triton.client.detect.result_line import DetectionOptions, InputStamp, ResultLine, RunConditions
from deepfake_triton.client.verdicts.quality_gate import EvidenceRule
from deepfake_triton.client.verdicts.verdict import ModelInfo, VideoFailure
from deepfake_triton.preprocessing.video.sampling import FrameSelection

pytestmark = pytest.mark.fast

OPTIONS = DetectionOptions(FrameSelection(), EvidenceRule(), jpeg_quality=None)
MODEL = ModelInfo("deepfake_detector", "2", "custom", "ab" * 32, operating_point=0.5)


def test_a_line_of_an_earlier_release_is_still_read() -> None:
    document: dict[str, Any] = {
        "video": "a.mp4",
        "verdict": "REAL",
        "reason": None,
        "fake_probability": 0.125,
    }
    assert ResultLine(document).text() == "a.mp4: REAL, probability of FAKE 0.125 (judged before)"
    document |= {"verdict": "INCONCLUSIVE", "reason": "no_face", "fake_probability": None}
    assert ResultLine(document).text() == "a.mp4: INCONCLUSIVE (no_face) (judged before)"


def test_a_verdict_holds_for_the_same_file_and_options(tmp_path: Path) -> None:
    video = tmp_path / "a.mp4"
    video.write_bytes(b"12345")
    conditions = RunConditions(InputStamp.of(str(video)), OPTIONS)
    line = ResultLine({**VideoFailure(str(video), "NotAVideo", "no").as_dict(), **conditions.to_json()})
    assert line.matches_conditions(conditions)
    assert not line.matches_conditions(replace(conditions, options=replace(OPTIONS, jpeg_quality=90)))
    trusting = replace(OPTIONS, c2pa_trust="ab" * 32)
    assert not line.matches_conditions(replace(conditions, options=trusting))
    assert "c2pa_trust" not in OPTIONS.to_json(), "lines of earlier releases still match"
    os.utime(video, ns=(1, 1))
    assert not line.matches_conditions(RunConditions(InputStamp.of(str(video)), OPTIONS))
    missing = RunConditions(InputStamp.of(str(tmp_path / "b.mp4")), OPTIONS)
    assert missing.input is None and not ResultLine(missing.to_json()).matches_conditions(missing)


def test_a_verdict_holds_for_the_same_weights_and_thresholds() -> None:
    line = ResultLine(VideoFailure("a.mp4", "NotAVideo", "no", MODEL).as_dict())
    assert line.matches_model(replace(MODEL, version="3"))
    assert not line.matches_model(replace(MODEL, sha256="cd" * 32))
    assert not line.matches_model(replace(MODEL, operating_point=0.75))
    assert not ResultLine({"model": None}).matches_model(MODEL)


@pytest.mark.parametrize("document", [[], 3, {"video": "a.mp4"}])
def test_another_document_is_no_line(document: object) -> None:
    with pytest.raises(ValueError, match="expected an object with the keys"):
        ResultLine.from_json(document)
