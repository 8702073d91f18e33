"""Sound that is carried beside frames: in step with them, whatever codec and container it came in."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from deepfake_triton.errors import InvalidOption
from deepfake_triton.preprocessing.video.timed_frames import read_frames
from deepfake_triton.preprocessing.video.writer import write_video

pytestmark = pytest.mark.fast

RATE, SECONDS, FLASH_AT = 48_000, 2.0, 1.0


def spoken_clip(path: Path, codec: str, *, video_from: float = 0.0, sound_from: float = 0.0) -> Path:
    """White frames from 1 s of the video's own time on, and a tone from 1 s of the sound's; the container's
    clock of each begins at `…_from`."""
    with av.open(str(path), "w") as container:
        options = {"bf": "0"} if path.suffix == ".avi" else {}  # an AVI knows one order of frames only
        video: Any = container.add_stream("libx264", rate=25, options=options)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        tick = Fraction(1, 25) if path.suffix == ".avi" else Fraction(1, 1000)
        video.codec_context.time_base = tick
        sound: Any = container.add_stream(codec, rate=RATE)
        sound.layout = "mono"
        for index in range(int(25 * SECONDS)):
            image = np.full((64, 64, 3), 255 * (index / 25 >= FLASH_AT), np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round((index / 25 + video_from) / tick), tick
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        time = np.arange(int(RATE * SECONDS)) / RATE
        wave = np.where(time >= FLASH_AT, np.sin(2 * np.pi * 880 * time), 0) * 20_000
        for first in range(0, len(wave), 960):
            samples = wave[None, first : first + 960].astype(np.int16)
            piece = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            piece.sample_rate, piece.time_base = RATE, Fraction(1, RATE)
            piece.pts = first + round(sound_from * RATE)
            container.mux(sound.encode(piece))
        container.mux(sound.encode(None))
    return path


def moments(path: Path) -> tuple[float, float, str]:
    """When the images turn white and when the tone begins, by the container's clock, and the codec."""
    with av.open(str(path)) as container:
        flash = next(f.time for f in container.decode(video=0) if f.to_ndarray(format="gray").mean() > 128)
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        for frame in container.decode(stream):
            samples = frame.to_ndarray().astype(np.float64)
            loud = np.flatnonzero(np.abs(samples).max(axis=0) > 0.1 * (1 if samples.max() <= 2 else 20_000))
            if len(loud):
                return float(flash or 0), float(frame.time or 0) + loud[0] / RATE, stream.codec_context.name
    raise AssertionError(f"{path}: no tone")


@pytest.mark.parametrize(
    ("name", "codec", "kept"),
    [
        ("a.mp4", "aac", "aac"),
        ("a.ts", "aac", "aac"),
        ("a.mkv", "flac", "flac"),
        ("a.mkv", "libopus", "opus"),
        ("a.mov", "pcm_s16le", "aac"),
        ("a.avi", "libmp3lame", "mp3float"),
        ("a.avi", "adpcm_ms", "aac"),
    ],
)
def test_sound_stays_in_step_with_its_images(*, name: str, codec: str, kept: str, tmp_path: Path) -> None:
    clip = spoken_clip(tmp_path / name, codec)
    count = write_video(tmp_path / "out.mp4", read_frames(clip), sound=clip)
    flash, tone, codec_name = moments(tmp_path / "out.mp4")
    assert count == 50 and codec_name == kept
    assert tone - flash == pytest.approx(0, abs=0.06)


@pytest.mark.parametrize(("video_from", "sound_from"), [(0.5, 0.0), (0.0, 0.5), (3.0, 2.0)])
@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_a_start_that_is_not_the_others_is_kept(
    *, video_from: float, sound_from: float, codec: str, tmp_path: Path
) -> None:
    clip = spoken_clip(tmp_path / "a.mkv", codec, video_from=video_from, sound_from=sound_from)
    write_video(tmp_path / "out.mp4", read_frames(clip), sound=clip)
    flash, tone, _ = moments(tmp_path / "out.mp4")
    assert tone - flash == pytest.approx(sound_from - video_from, abs=0.06)


def test_sound_follows_a_clock_that_starts_anew(tmp_path: Path) -> None:
    clip, concatenated = spoken_clip(tmp_path / "a.ts", "aac"), tmp_path / "concatenated.ts"
    concatenated.write_bytes(2 * clip.read_bytes())
    write_video(tmp_path / "out.mp4", read_frames(concatenated), sound=concatenated)
    with av.open(str(tmp_path / "out.mp4")) as container:
        white = [(f.time or 0.0, f.to_ndarray(format="gray").mean() > 128) for f in container.decode(video=0)]
    with av.open(str(tmp_path / "out.mp4")) as container:
        loud = [(f.time or 0.0, np.abs(f.to_ndarray()).max() > 0.1) for f in container.decode(audio=0)]
    flashes, tones = (
        [now for (_, before), (now, after) in pairwise(states) if after and not before]
        for states in (white, loud)
    )
    assert len(flashes) == len(tones) == 2 and flashes[1] - flashes[0] > 1.9
    assert tones == pytest.approx(flashes, abs=0.08)


@pytest.mark.parametrize("codec", ["aac", "mp2"])
def test_damaged_sound_costs_no_image(codec: str, tmp_path: Path) -> None:
    clip = spoken_clip(tmp_path / "a.ts", codec)
    data = bytearray(clip.read_bytes())
    for first in range(5003, len(data), 5003):
        data[first : first + 40] = b"\x55" * len(data[first : first + 40])
    clip.write_bytes(data[: 3 * len(data) // 4])
    count = write_video(tmp_path / "out.mp4", read_frames(clip), sound=clip)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert len(list(container.decode(video=0))) == count > 10 and len(container.streams.audio) == 1


def test_without_sound_there_is_none(tmp_path: Path) -> None:
    silent = spoken_clip(tmp_path / "a.mp4", "aac")
    write_video(tmp_path / "silent.mp4", read_frames(silent))
    write_video(tmp_path / "out.mp4", read_frames(tmp_path / "silent.mp4"), sound=tmp_path / "silent.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert not container.streams.audio and len(list(container.decode(video=0))) == 50


def test_another_kind_of_file_is_not_written(tmp_path: Path) -> None:
    clip = spoken_clip(tmp_path / "a.mp4", "aac")
    with pytest.raises(InvalidOption, match=r"got a name that ends in '\.avi', expected \.mp4"):
        write_video(tmp_path / "out.avi", read_frames(clip))
    assert not (tmp_path / "out.avi").exists()
