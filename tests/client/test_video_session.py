"""One video's session: how many windows it keeps in memory, and faces made from an answer's arrays."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from deepfake_triton.client.protocol.exchange import WindowAnswer
from deepfake_triton.client.verdicts.quality_gate import EvidenceRule
from deepfake_triton.client.verdicts.verdict import ModelInfo
from deepfake_triton.client.video_session import WINDOWS_IN_FLIGHT, VideoSession
from deepfake_triton.client.wire.requests import ClipAnswer
from deepfake_triton.export.demo_video import DEMO_CLIP
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch
from deepfake_triton.preprocessing.video.sampling import FrameSelection

pytestmark = pytest.mark.fast

MODEL = ModelInfo("deepfake_detector", "1", "default", "ab" * 32, operating_point=0.5)


def answer(frames: FrameBatch) -> WindowAnswer:
    """One face of 100 px, seen in all frames, after a quarter of a second."""
    clip = ClipAnswer(
        fake_probability=np.array([[0.75]], np.float32),
        boxes=np.tile(np.array([20, 20, 120, 120], np.float32), (1, len(frames), 1)),
        observed=np.ones((1, len(frames)), np.bool_),
        faces_left_out=3,
        version="1",
    )
    return WindowAnswer(frames, clip, MODEL, 0.25)


def test_a_session_is_full_until_an_answer_is_added() -> None:
    selection = FrameSelection(num_frames=2, windows=WINDOWS_IN_FLIGHT + 1)
    windows: list[FrameBatch] = []
    with closing(VideoSession(str(DEMO_CLIP), selection, timeout_s=60, evidence=EvidenceRule())) as session:
        while not session.is_full:
            window = session.next_window()
            assert window is not None
            windows.append(window)
        assert len(windows) == WINDOWS_IN_FLIGHT
        session.add(answer(windows[0]))
        assert not session.is_full and session.windows_answered == 1
        session.add(answer(windows[1]))
        verdict = session.verdict()
    assert [face.fake_probability for face in verdict.faces] == [0.75]
    assert verdict.faces[0].frames_observed == 4 and verdict.faces_left_out == 3
    assert verdict.latency_ms.infer >= 500 and verdict.frames_decoded == 4
