"""Frames are converted and stacked; one that has no conversion is noted, and costs no other frame."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from support import quarters, write_clip

from deepfake_triton.preprocessing.decoding.decoded_frame import DecodedFrame
from deepfake_triton.preprocessing.decoding.scaling import Scaler
from deepfake_triton.preprocessing.media.media_file import open_media
from deepfake_triton.preprocessing.video.scaled_batch import scale_batch

pytestmark = pytest.mark.fast

UNTAGGED, YCGCO = 2, 8


def decoded(index: int, matrix: int = UNTAGGED) -> DecodedFrame:
    """A frame of gray 20 · `index`, displayed for a second from `index` on."""
    frame: Any = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * index, np.uint8), format="rgb24")
    frame = frame.reformat(format="yuv420p")
    frame.colorspace = matrix
    return DecodedFrame(frame, float(index), float(index + 1))


def test_a_frame_without_a_conversion_is_noted_and_left_out(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", [quarters()] * 2)
    with open_media(path) as media, media.reader() as reader:
        frames = iter([decoded(1), decoded(2, YCGCO), decoded(3), decoded(4), decoded(5)])
        batch, is_at_end = scale_batch(frames, 2, scaler=Scaler(Fraction(1)), reader=reader)
        assert batch is not None and not is_at_end
        assert batch.pts_seconds.tolist() == [1.0, 3.0] and batch.end_seconds == 4.0
        assert [round(float(image.mean()) / 20) for image in batch.data] == [1, 3]
        assert reader.faults == ["frames that cannot become RGB (colors coded as YCgCo)"]
        rest, is_at_end = scale_batch(frames, 3, scaler=Scaler(Fraction(1)), reader=reader)
        assert rest is not None and is_at_end and rest.pts_seconds.tolist() == [4.0, 5.0]
        assert scale_batch(frames, 3, scaler=Scaler(Fraction(1)), reader=reader) == (None, True)
