from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from scheduling import scheduling_kept

from deepfake_triton.errors import VideoUnreadable
from deepfake_triton.preprocessing.media.folders import VIDEO_SUFFIXES, list_files, list_media_files
from deepfake_triton.preprocessing.video.clip import decode_clip

pytestmark = pytest.mark.fast


def test_a_collection_is_read_without_what_desktops_add(tmp_path: Path) -> None:
    for name in ("b.MTS", "a/c.jpg", "._b.mts", "__MACOSX/b.mts", "@eaDir/c.jpg", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "gone.mp4").symlink_to("missing.mp4")
    assert list_media_files(tmp_path) == [tmp_path / "a/c.jpg", tmp_path / "b.MTS"]
    content = list_files(tmp_path / "missing", VIDEO_SUFFIXES)
    assert content.files == () and content.unreadable == (tmp_path / "missing",)


@pytest.mark.parametrize(
    ("suffix", "form", "codec", "pixels"),
    [
        (".h264", "h264", "libx264", "yuv420p"),
        (".hevc", "hevc", "libx265", "yuv420p"),
        (".ivf", "ivf", "libvpx", "yuv420p"),
        (".obu", "obu", "libsvtav1", "yuv420p"),
        (".mjpg", "mjpeg", "mjpeg", "yuvj420p"),
        (".apng", "apng", "apng", "rgb24"),
        (".ogm", "ogg", "libvpx", "yuv420p"),
        (".m2t", "mpegts", "libx264", "yuv420p"),
        (".tiff", "image2", "tiff", "rgb24"),
    ],
)
def test_what_the_reader_opens_is_found_in_a_folder(
    *, tmp_path: Path, suffix: str, form: str, codec: str, pixels: str
) -> None:
    path = tmp_path / f"a{suffix}"
    if codec not in av.codecs_available:
        pytest.skip(f"no encoder {codec} here")
    options = {"update": "1"} if form == "image2" else {}
    with scheduling_kept(), av.open(str(path), "w", format=form, options=options) as file:
        stream: Any = file.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, pixels
        for shade in (80,) if form == "image2" else (0, *[80] * 7):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), shade, np.uint8), format="rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    assert list_media_files(tmp_path) == [path]
    assert decode_clip(path).frames.data[-1].mean() == pytest.approx(80, abs=8)


def test_an_address_is_no_file() -> None:
    with pytest.raises(VideoUnreadable, match="download it first"):
        decode_clip("https://example.org/a.mp4")
