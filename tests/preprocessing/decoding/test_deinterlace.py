"""Woven fields of a moving scene become images of one moment; what is not interlaced stays as it is."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from support import write_clip

from deepfake_triton.arrays import Image
from deepfake_triton.preprocessing.decoding.deinterlace import stored_field_order
from deepfake_triton.preprocessing.video.clip import decode_clip
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch
from deepfake_triton.preprocessing.video.sampling import FrameSelection, Sampling
from deepfake_triton.preprocessing.video.windows import VideoWindows

pytestmark = pytest.mark.fast

FRAMES, STEP_PX = 40, 6
_H264 = {"x264-params": "interlaced=1:bff=1", "crf": "8", "g": "10"}
_MPEG = {"flags": "+ildct+ilme", "b": "12000000", "g": "10"}
_FORMATS = {
    "a.mp4": ("libx264", _H264, "yuv420p"),
    "a.mkv": ("libx264", _H264, "yuv420p"),
    "a.ts": ("mpeg2video", _MPEG, "yuv420p"),
    "a.avi": ("mpeg4", _MPEG, "yuv420p"),
    "a.mov": ("prores_ks", {"flags": "+ildct"}, "yuv422p10le"),
    "jpeg.mov": ("mjpeg", {"qmin": "1", "qmax": "2"}, "yuvj422p"),
    "jpeg.mkv": ("mjpeg", {"qmin": "1", "qmax": "2"}, "yuvj422p"),
    "png.mov": ("png", {}, "rgb24"),
    "raw.mov": ("rawvideo", {}, "uyvy422"),
}
_BOTTOM_FIELD_FIRST = 3
"""AV_FIELD_BB, which the muxers write down where the frames cannot say it."""
_READS_FIELD_ORDER = hasattr(av.VideoCodecContext, "field_order")
_NO_FIELD_ORDER = "PyAV before 18 has no field_order"


def moment(field: int, height: int = 144, width: int = 192) -> Image:
    """A gray scene of soft vertical bars that moves on with every field."""
    columns = np.arange(width) - STEP_PX * field
    row = 128 + 90 * np.sin(columns / 7) * np.cos(columns / 31)
    slope = np.linspace(-20, 20, height)[:, None]
    return np.repeat(np.asarray(np.clip(row + slope, 0, 255), np.uint8)[..., None], 3, axis=2)


def woven(index: int) -> Image:
    """The bottom lines first, as these encoders have it."""
    image = moment(2 * index + 1).copy()
    image[1::2] = moment(2 * index)[1::2]
    return image


def write_interlaced(path: Path, frames: int = FRAMES, rotation: int | None = None) -> Path:
    codec, options, pixel_format = _FORMATS[path.name]
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = moment(0).shape[:2]
        stream.pix_fmt = pixel_format
        if path.stem != "a":
            stream.codec_context.field_order = _BOTTOM_FIELD_FIRST
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(woven(index), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def combs(image: np.ndarray) -> float:
    """How much neighboring lines differ: the scene itself has next to none of that."""
    lines = image.astype(np.float64).mean(axis=2)
    return float(np.abs(lines[2:] - 2 * lines[1:-1] + lines[:-2]).mean())


def away_from_its_moment(batch: FrameBatch) -> float:
    """The mean difference from the scene as the first field of each frame shows it."""
    indices = np.rint(batch.pts_seconds * 25).astype(int)
    found = batch.data.astype(np.float64)
    return float(np.mean([np.abs(found[i] - moment(2 * k)).mean() for i, k in enumerate(indices)]))


@pytest.fixture(scope="module", params=sorted(_FORMATS))
def film(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if Path(request.param).stem != "a" and not _READS_FIELD_ORDER:
        pytest.skip(_NO_FIELD_ORDER)
    return write_interlaced(tmp_path_factory.mktemp("interlaced") / request.param)


def test_the_input_has_combs(film: Path) -> None:
    with av.open(str(film)) as container:
        raw = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert combs(raw) > 20 and combs(moment(0)) < 1


def test_frames_are_those_of_one_moment(film: Path) -> None:
    clip = decode_clip(film)
    assert len(clip.frames) == 20 and clip.fault is None
    assert max(combs(image) for image in clip.frames.data) < 3
    assert away_from_its_moment(clip.frames) < 5


def test_so_are_they_wherever_they_lie(film: Path) -> None:
    """Apart, in windows behind leaps, and up to the last one, whose next frame does not exist."""
    batches = [decode_clip(film, FrameSelection(6, Sampling.UNIFORM)).frames]
    batches += list(VideoWindows(film, FrameSelection(5, windows=3)))
    assert [len(batch) for batch in batches] == [6, 5, 5, 5]
    assert batches[-1].pts_seconds[-1] == pytest.approx((FRAMES - 1) / 25, abs=0.05)
    for batch in batches:
        assert max(combs(image) for image in batch.data) < 3 and away_from_its_moment(batch) < 5


def test_one_interlaced_frame_alone(tmp_path: Path) -> None:
    frames = decode_clip(write_interlaced(tmp_path / "a.mp4", frames=1)).frames
    assert len(frames) == 1 and combs(frames.data[0]) < 3


def test_turned_video_is_turned_and_has_no_combs(tmp_path: Path) -> None:
    upright = decode_clip(write_interlaced(tmp_path / "a.mp4", rotation=90)).frames.data
    assert upright.shape[1:] == (192, 144, 3)
    lying = decode_clip(write_interlaced(tmp_path / "a.mp4")).frames.data
    assert np.array_equal(upright, np.rot90(lying, axes=(1, 2)))


def test_what_stands_still_keeps_all_of_its_lines(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (144, 192, 3), np.uint8)
    still = np.asarray(cv2.GaussianBlur(noise, (3, 3), 1), np.uint8)
    found = [
        decode_clip(write_clip(tmp_path / name, [still] * 20, codec_options={**options, "crf": "8"})).frames
        for name, options in (("woven.mp4", _H264), ("plain.mp4", {}))
    ]
    difference = np.abs(found[0].data[5:15].astype(int) - found[1].data[5:15]).mean()
    assert difference < 8 < np.abs(np.diff(found[1].data[10].astype(int), axis=0)).mean()


def test_progressive_frames_are_not_touched(tmp_path: Path) -> None:
    """Combs that no flag speaks of are the image's own: a striped shirt, say."""
    path = write_clip(tmp_path / "a.mp4", [woven(index) for index in range(5)], codec_options={"crf": "8"})
    assert min(combs(image) for image in decode_clip(path).frames.data) > 20


@pytest.mark.skipif(not _READS_FIELD_ORDER, reason=_NO_FIELD_ORDER)
def test_progressive_frames_of_a_stream_that_calls_itself_interlaced_are_not_touched(tmp_path: Path) -> None:
    """H.264 says it of each frame, and cameras put progressive ones into such streams."""
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25, options={"crf": "8"})
        stream.height, stream.width, stream.pix_fmt = 144, 192, "yuv420p"
        stream.codec_context.field_order = _BOTTOM_FIELD_FIRST
        for index in range(5):
            frame = av.VideoFrame.from_ndarray(woven(index), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.field_order == _BOTTOM_FIELD_FIRST
    assert min(combs(image) for image in decode_clip(path).frames.data) > 20


@pytest.mark.skipif(not _READS_FIELD_ORDER, reason=_NO_FIELD_ORDER)
@pytest.mark.parametrize(
    ("order", "expected"), [(0, None), (1, None), (2, True), (3, False), (4, False), (5, True)]
)
def test_the_order_of_fields_is_the_files(order: int, expected: bool | None) -> None:
    codec: Any = av.CodecContext.create("mjpeg", "r")
    codec.field_order = order
    assert stored_field_order(codec) is expected
    frames_say: Any = av.CodecContext.create("h264", "r")
    frames_say.field_order = order
    assert stored_field_order(frames_say) is None
