from __future__ import annotations

import errno
import io
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from support import BLUE, GREEN, RED, WHITE, quarter_colors, quarters, write_clip

from deepfake_triton.contracts import MAX_CLIP_PIXELS
from deepfake_triton.errors import (
    DeadlineExceeded,
    InvalidFrames,
    NotAVideo,
    NoVideoStream,
    VideoNotFound,
    VideoTooLarge,
    VideoUndecodable,
    VideoUnreadable,
)
from deepfake_triton.preprocessing.decoding import video_stream
from deepfake_triton.preprocessing.media import media_file
from deepfake_triton.preprocessing.video.clip import decode_clip
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch
from deepfake_triton.preprocessing.video.sampling import FrameSelection, Sampling

pytestmark = pytest.mark.fast

UNIFORM_5 = FrameSelection(5, Sampling.UNIFORM)


def numbered(count: int, width: int = 320, height: int = 240) -> list[np.ndarray]:
    """Frames whose brightness is five times their number (below 50)."""
    return [np.full((height, width, 3), 5 * (index % 50), np.uint8) for index in range(count)]


def numbers(batch: FrameBatch) -> list[int]:
    return [round(float(image.mean()) / 5) for image in batch.data]


def test_the_first_frames_in_order_with_their_times(tmp_path: Path) -> None:
    clip = decode_clip(write_clip(tmp_path / "a.mp4", numbered(30)))
    assert numbers(clip.frames) == list(range(20))
    assert clip.frames.pts_seconds == pytest.approx(np.arange(20) * 0.04)
    assert clip.frames.end_seconds == pytest.approx(0.8)
    assert clip.duration_seconds == pytest.approx(1.2)
    assert clip.fault is None


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.ts", "a.webm"])
def test_uniform_sampling_spans_the_video(tmp_path: Path, name: str) -> None:
    codec = {"a.avi": "mpeg4", "a.webm": "libvpx"}.get(name, "libx264")
    fine = {"b": "8000000", "qmin": "1", "qmax": "3"} if codec != "libx264" else {}
    path = write_clip(tmp_path / name, numbered(50), codec=codec, codec_options=fine)
    clip = decode_clip(path, UNIFORM_5)
    assert numbers(clip.frames) == [5, 15, 25, 35, 45]
    assert clip.frames.pts_seconds == pytest.approx(np.array([5, 15, 25, 35, 45]) * 0.04, abs=2e-3)
    assert clip.fault is None


@pytest.mark.parametrize(
    ("rotation", "expected"),
    [
        (0, [RED, GREEN, BLUE, WHITE]),
        (90, [GREEN, WHITE, RED, BLUE]),
        (180, [WHITE, BLUE, GREEN, RED]),
        (-90, [BLUE, RED, WHITE, GREEN]),
    ],
)
def test_rotation_metadata_is_honored(
    tmp_path: Path, rotation: int, expected: list[tuple[int, int, int]]
) -> None:
    clip = decode_clip(write_clip(tmp_path / "turned.mp4", [quarters()] * 3, rotation=rotation))
    assert clip.frames.data.shape[1:3] == ((240, 320) if rotation in (0, 180) else (320, 240))
    assert quarter_colors(clip.frames.data[0]) == expected


def test_variable_frame_rate_keeps_presentation_times(tmp_path: Path) -> None:
    shown_ms = [0, 40, 500, 540, 2000, 2040]
    clip = decode_clip(write_clip(tmp_path / "vfr.mkv", numbered(6), pts_ms=shown_ms))
    assert clip.frames.pts_seconds == pytest.approx(np.array(shown_ms) / 1000, abs=1e-3)


@pytest.mark.parametrize("pixel_format", ["yuv422p10le", "yuv420p10le", "yuv444p", "gray"])
def test_pixel_formats_become_rgb(tmp_path: Path, pixel_format: str) -> None:
    clip = decode_clip(write_clip(tmp_path / "deep.mov", [quarters()] * 3, pixel_format=pixel_format))
    assert clip.frames.data.dtype == np.uint8
    if pixel_format == "gray":
        assert clip.frames.data[0][60, 80].std() == 0
    else:
        assert quarter_colors(clip.frames.data[0]) == [RED, GREEN, BLUE, WHITE]


def test_large_frames_are_scaled_to_640_and_small_ones_are_not(tmp_path: Path) -> None:
    large = write_clip(tmp_path / "large.mp4", [quarters(1280, 720)] * 2)
    small = write_clip(tmp_path / "small.mp4", [quarters(320, 180)] * 2)
    assert decode_clip(large).frames.data.shape[1:] == (360, 640, 3)
    assert decode_clip(small).frames.data.shape[1:] == (180, 320, 3)


def test_pixels_that_are_not_square_are_stretched(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "wide.mp4", [quarters(240, 240)] * 2, pixel_aspect=Fraction(2))
    assert decode_clip(path).frames.data.shape[1:] == (240, 480, 3)


def test_uniform_sampling_of_fragmented_files(tmp_path: Path) -> None:
    """Such a file's header counts the frames of its first fragment only."""
    for flags in ("frag_keyframe", "frag_keyframe+empty_moov", "faststart"):
        path = write_clip(
            tmp_path / f"{flags}.mp4",
            numbered(50),
            codec_options={"g": "10"},
            container_options={"movflags": flags},
        )
        clip = decode_clip(path, UNIFORM_5)
        assert numbers(clip.frames) == [5, 15, 25, 35, 45] and clip.fault is None


def test_metadata_need_not_be_utf_8(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "plain.mkv", numbered(25), title="caf*")
    path.write_bytes(path.read_bytes().replace(b"caf*", b"caf\xe9"))
    assert len(decode_clip(path).frames) == 20


def test_a_long_last_frame_and_longer_sound_are_no_cut(tmp_path: Path) -> None:
    sparse = write_clip(tmp_path / "sparse.mkv", numbered(6), pts_ms=[0, 40, 80, 10_000, 20_000, 30_000])
    for selection in (FrameSelection(), FrameSelection(3, Sampling.UNIFORM)):
        assert decode_clip(sparse, selection).fault is None
    spoken = write_clip(tmp_path / "spoken.mkv", numbered(30), sound_seconds=8)
    for selection in (FrameSelection(64), FrameSelection(5, Sampling.UNIFORM)):
        clip = decode_clip(spoken, selection)
        assert clip.fault is None and clip.frames.end_seconds <= 1.3


def test_decoding_stops_at_its_deadline(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "long.mp4", numbered(50) * 6)
    with pytest.raises(DeadlineExceeded, match="decoding takes longer"):
        decode_clip(path, FrameSelection(5, Sampling.UNIFORM), timeout_s=0.001)
    assert len(decode_clip(path, UNIFORM_5, timeout_s=60).frames) == 5


def test_a_disk_that_fails_is_the_files_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real decoder over a file whose reads fail from some byte on."""

    class FailingFile(io.BufferedReader):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() + (size or 0) > 3_000 and size and size > 100:
                raise OSError(errno.EIO, "Input/output error")
            return super().read(size)

    path = write_clip(tmp_path / "a.mp4", [quarters()] * 40)
    monkeypatch.setattr(Path, "open", lambda self, _mode: FailingFile(io.FileIO(self, "r")))
    with pytest.raises(VideoUnreadable, match="Input/output error"):
        decode_clip(path)


def test_one_frame_is_a_video(tmp_path: Path) -> None:
    clip = decode_clip(write_clip(tmp_path / "one.mp4", [quarters()]))
    assert len(clip.frames) == 1 and clip.fault is None


@pytest.mark.parametrize("selection", [FrameSelection(), FrameSelection(20, Sampling.UNIFORM)])
def test_a_fragmented_file_cut_in_the_middle_gives_what_decodes(
    tmp_path: Path, selection: FrameSelection
) -> None:
    whole = write_clip(
        tmp_path / "whole.mp4",
        [np.random.default_rng(i).integers(0, 255, (240, 320, 3), np.uint8) for i in range(40)],
        codec_options={"g": "4"},
        container_options={"movflags": "frag_keyframe+empty_moov"},
    )
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 3])
    clip = decode_clip(cut, selection)
    assert 4 <= len(clip.frames) < 20
    assert clip.fault is not None and "bytes are missing" in clip.fault
    assert np.array_equal(clip.frames.data[0], decode_clip(whole).frames.data[0])


@pytest.mark.parametrize("name", ["cut.mkv", "cut.mp4"])
def test_frames_that_run_out_early_are_reported(tmp_path: Path, name: str) -> None:
    noise = [np.random.default_rng(i).integers(0, 255, (240, 320, 3), np.uint8) for i in range(80)]
    whole = write_clip(tmp_path / f"whole_{name}", noise, container_options={"movflags": "faststart"})
    cut = tmp_path / name
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 3])
    clip = decode_clip(cut, FrameSelection(64))
    assert 1 <= len(clip.frames) < 40 and clip.fault


def test_damage_in_the_middle_does_not_hide_the_rest(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "damaged.ts", numbered(50), codec_options={"g": "5"})
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = np.random.default_rng(0).bytes(2000)
    path.write_bytes(data)
    clip = decode_clip(path, FrameSelection(64))
    assert 25 < len(clip.frames) <= 50
    assert numbers(clip.frames)[0] == 0 and numbers(clip.frames)[-1] >= 45


def test_what_is_no_video_has_a_typed_error(tmp_path: Path) -> None:
    def error_for(name: str, data: bytes) -> tuple[type[Exception], str]:
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises((NotAVideo, NoVideoStream, VideoUndecodable)) as caught:
            decode_clip(path)
        assert str(path) in str(caught.value)
        return caught.type, str(caught.value)

    assert error_for("empty.mp4", b"")[0] is NotAVideo
    assert error_for("text.mp4", b"this is not a video\n" * 100)[0] is NotAVideo
    assert error_for("noise.mp4", np.random.default_rng(0).bytes(5000))[0] is NotAVideo
    assert error_for("list.m3u8", b"#EXTM3U\n#EXTINF:10,\n/etc/passwd\n")[0] is NotAVideo
    assert error_for("page.txt", b"\x1b[31m hello\n" * 100)[0] is NotAVideo
    mp4 = write_clip(tmp_path / "whole.mp4", numbered(20)).read_bytes()
    kind, message = error_for("no_index.mp4", mp4[: len(mp4) // 2])
    assert kind is VideoUndecodable and "moov" in message


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    import av

    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        samples = np.zeros((1, 44100), np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(NoVideoStream):
        decode_clip(path)


def test_paths_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(VideoNotFound, match="no such file"):
        decode_clip(tmp_path / "missing.mp4")
    with pytest.raises(VideoUnreadable, match="directory"):
        decode_clip(tmp_path)


def test_a_batch_whose_shapes_disagree_is_refused() -> None:
    with pytest.raises(InvalidFrames, match="pts_seconds"):
        FrameBatch(np.zeros((2, 4, 4, 3), np.uint8), np.zeros(3), 1.0)


def test_a_batch_beyond_the_contract_is_refused_with_both_numbers() -> None:
    def batch(*shape: int) -> FrameBatch:
        return FrameBatch(np.broadcast_to(np.uint8(0), (*shape, 3)), np.arange(float(shape[0])), 99.0)

    assert len(batch(32, 1080, 1920)) == 32
    with pytest.raises(
        InvalidFrames, match=f"got {33 * 1080 * 1920} pixels .*at most {MAX_CLIP_PIXELS} a clip"
    ):
        batch(33, 1080, 1920)
    with pytest.raises(InvalidFrames, match="got 65 of 4 × 4 px, expected 1…64 of at most 4096 px"):
        batch(65, 4, 4)


def test_more_bytes_pixels_or_hours_than_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_clip(tmp_path / "a.mp4", numbered(3))
    for module, limit, value, says in (
        (media_file, "MAX_FILE_BYTES", 1000, "GiB, at most"),
        (video_stream, "MAX_STORED_PIXELS", 320 * 240 - 1, "frames of 320 × 240 px"),
        (video_stream, "MAX_VIDEO_SECONDS", 0.1, "claims to last"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, limit, value)
            with pytest.raises(VideoTooLarge, match=says):
                decode_clip(path)
    assert len(decode_clip(path).frames) == 3
