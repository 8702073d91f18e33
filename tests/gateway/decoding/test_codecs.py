"""Codecs of all kinds, with their threads and memory, decode behind the filter of system calls as without."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from decoder_uploads import upload_from
from scheduling import scheduling_kept
from support import backdrop

from deepfake_triton.gateway.decoding.pool import DecoderPool
from deepfake_triton.preprocessing.video.sampling import FrameSelection
from deepfake_triton.preprocessing.video.windows import VideoWindows

pytestmark = pytest.mark.triton

FORMATS = (
    ("libx264", "clip.flv", "yuv420p"),
    ("libx265", "clip.mp4", "yuv420p10le"),
    ("libvpx", "clip.webm", "yuv420p"),
    ("libvpx-vp9", "clip.webm", "yuv420p"),
    ("libsvtav1", "clip.mkv", "yuv420p10le"),
    ("mpeg2video", "clip.ts", "yuv420p"),
    ("mpeg4", "clip.avi", "yuv420p"),
    ("wmv2", "clip.asf", "yuv420p"),
    ("prores_ks", "clip.mov", "yuv422p10le"),
    ("jpeg2000", "clip.mov", "rgb24"),
    ("ffv1", "clip.nut", "yuv420p"),
    ("rv10", "clip.rm", "yuv420p"),
    ("gif", "clip.gif", "rgb8"),
    ("apng", "clip.apng", "rgb24"),
)


def encoded(path: Path, codec: str, pixels: str) -> Path:
    form = "mpegts" if path.suffix == ".ts" else None
    with scheduling_kept(), av.open(str(path), "w", format=form) as container:
        stream: Any = container.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = 176, 144, pixels
        for index in range(6):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(backdrop(144, 176, index)), "rgb24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("codec", "name", "pixels"), FORMATS, ids=[codec for codec, _, _ in FORMATS])
def test_it_decodes_in_a_child(pool: DecoderPool, tmp_path: Path, codec: str, name: str, pixels: str) -> None:
    path = encoded(tmp_path / name, codec, pixels)
    selection = FrameSelection(num_frames=4)
    (expected,) = VideoWindows(path, selection, timeout_s=60)
    (window,) = pool.open_video(upload_from(path), selection, 60)
    assert np.array_equal(window.data, expected.data) and len(window.data) == 4
    assert asyncio.run(pool.make_preview(upload_from(path))) is not None
