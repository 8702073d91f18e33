from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepfake_triton.benchmarks.suite.clips import MIXED_KINDS, mixed_clips
from deepfake_triton.contracts import DETECTIONS, FRAMES
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.preprocessing.video.clip import decode_clip

pytestmark = pytest.mark.compute


def test_the_benchmarks_own_clip_is_720p_and_shows_one_face(benchmark_clip: Path, detector: Runner) -> None:
    clip = decode_clip(benchmark_clip)
    assert clip.frames.data.shape == (20, 360, 640, 3), "720p, scaled as every frame is"
    found = detector.infer({FRAMES.name: clip.frames.data})[DETECTIONS.name]
    assert (found[:, 0, 4] > 0.7).all() and (found[:, 1, 4] < 0.5).all()
    widths = found[:, 0, 2] - found[:, 0, 0]
    assert np.all(np.abs(widths / np.median(widths) - 1) < 0.15), "the camera moves before it"


def test_clips_of_mixed_sizes_show_as_many_faces_as_their_names_say(detector: Runner) -> None:
    clips = dict(mixed_clips())
    assert list(clips) == [kind.name for kind in MIXED_KINDS] and len(clips) == len(MIXED_KINDS)
    for kind in MIXED_KINDS:
        frames = clips[kind.name].data
        assert frames.shape == (kind.frames, kind.height, kind.width, 3)
        found = detector.infer({FRAMES.name: frames[-1:]})[DETECTIONS.name]
        assert (found[0, :, 4] > 0.5).sum() == kind.faces, kind.name
