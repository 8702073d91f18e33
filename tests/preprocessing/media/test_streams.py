"""Of several video streams the one is judged that a player shows: quarters; the others are gray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from support import BLUE, GREEN, RED, WHITE, quarter_colors, quarters, write_clip

from deepfake_triton.arrays import Image
from deepfake_triton.errors import NoVideoStream, VideoUndecodable
from deepfake_triton.preprocessing.media.streams import select_stream
from deepfake_triton.preprocessing.video.clip import decode_clip
from deepfake_triton.preprocessing.video.sampling import FrameSelection, Sampling

pytestmark = pytest.mark.fast


@dataclass(frozen=True)
class Track:
    """A stream of equal images, `rate` a second."""

    image: Image
    frames: int = 30
    rate: int = 25
    codec: str = "libx264"
    disposition: Disposition | None = None


def gray(width: int = 320, height: int = 240) -> Image:
    return np.full((height, width, 3), 128, np.uint8)


def write_tracks(path: Path, tracks: Sequence[Track], options: dict[str, str] | None = None) -> Path:
    """Mux the tracks interleaved, as recorders do."""
    packets = []
    with av.open(str(path), "w", container_options=options or {}) as container:
        for track in tracks:
            stream: Any = container.add_stream(track.codec, rate=track.rate)
            stream.height, stream.width = track.image.shape[:2]
            stream.pix_fmt = "yuvj420p" if track.codec == "mjpeg" else "yuv420p"
            stream.disposition = track.disposition.value if track.disposition else 0
            frames = []
            for index in range(track.frames):
                frame = av.VideoFrame.from_ndarray(track.image, format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, track.rate)
                frames.append(frame)
            packets += [packet for frame in frames for packet in stream.encode(frame)]
            packets += stream.encode(None)
        for packet in sorted(packets, key=lambda packet: float((packet.dts or 0) * packet.time_base)):
            container.mux(packet)
    return path


def judged(path: Path) -> tuple[int, bool]:
    """How many frames are judged, and whether they are those of the quarters, by either way of sampling."""
    clips = [decode_clip(path, FrameSelection(20, sampling)).frames.data for sampling in Sampling]
    is_film = {quarter_colors(frames[0]) == [RED, GREEN, BLUE, WHITE] for frames in clips}
    assert len(is_film) == 1 and len({len(frames) for frames in clips}) == 1
    return len(clips[0]), is_film.pop()


FILM = Track(quarters())
DEFAULT = Disposition.default


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "avi", "nut"])
@pytest.mark.parametrize("thumbnails", [1, 3])
def test_thumbnails_lose_even_as_the_default(tmp_path: Path, suffix: str, thumbnails: int) -> None:
    few = Track(gray(640, 480), thumbnails, rate=1, codec="mjpeg", disposition=DEFAULT)
    film = Track(quarters(), codec="mpeg4" if suffix == "avi" else "libx264")
    assert judged(write_tracks(tmp_path / f"a.{suffix}", [few, film])) == (20, True)
    assert judged(write_tracks(tmp_path / f"b.{suffix}", [film, few])) == (20, True)


def test_a_slow_track_of_many_thumbnails_loses(tmp_path: Path) -> None:
    """One a second over eight seconds, beside a film that is not the default."""
    slow = Track(gray(640, 480), 8, rate=1, codec="mjpeg", disposition=DEFAULT)
    for suffix in ("mp4", "mkv"):
        film = Track(quarters(), 60)
        assert judged(write_tracks(tmp_path / f"a.{suffix}", [slow, film])) == (20, True)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_the_default_wins_over_a_longer_and_larger_one(tmp_path: Path, suffix: str) -> None:
    other, default = Track(gray(640, 480), 60), Track(quarters(), disposition=DEFAULT)
    assert judged(write_tracks(tmp_path / f"a.{suffix}", [other, default])) == (20, True)


@pytest.mark.parametrize("aside", ["still_image", "timed_thumbnails", "dependent", "visual_impaired"])
def test_what_a_player_leaves_out_is_not_judged(tmp_path: Path, aside: str) -> None:
    """Few containers keep these flags, so they are set on the open streams."""
    path = write_tracks(tmp_path / "a.mp4", [Track(gray(640, 480)), FILM])
    with av.open(str(path)) as container:
        streams: list[Any] = list(container.streams.video)
        streams[0].disposition = (DEFAULT | Disposition[aside]).value
        for default in (DEFAULT, Disposition(0)):
            streams[1].disposition = default.value
            if aside != "visual_impaired" or default:
                assert select_stream(streams, {}, []).index == 1


def test_a_cover_image_is_no_video(tmp_path: Path) -> None:
    cover = Track(gray(), 1, codec="mjpeg", disposition=Disposition.attached_pic)
    assert judged(write_tracks(tmp_path / "film.mp4", [cover, FILM])) == (20, True)
    with pytest.raises(NoVideoStream, match="no video stream"):
        decode_clip(write_tracks(tmp_path / "song.mp4", [cover]))


@pytest.mark.parametrize("suffix", ["ts", "mp4", "mkv"])
def test_of_equals_the_larger_is_judged(tmp_path: Path, suffix: str) -> None:
    """Two programs of a transport stream: one a preview of the other, and a frame longer."""
    preview, film = Track(gray(160, 120), 31, disposition=DEFAULT), Track(quarters(), disposition=DEFAULT)
    assert judged(write_tracks(tmp_path / f"a.{suffix}", [preview, film])) == (20, True)
    assert judged(write_tracks(tmp_path / f"b.{suffix}", [film, preview])) == (20, True)


def test_a_stream_that_cannot_be_decoded_leaves_the_other(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "two.mp4", [Track(gray(640, 480), 60, disposition=DEFAULT), FILM])
    data = path.read_bytes()
    assert data.count(b"avc1") >= 2
    at = data.index(b"avc1", data.index(b"moov"))
    path.write_bytes(data[:at] + b"braw" + data[at + 4 :])
    assert judged(path) == (20, True)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_thumbnail_does_not_stand_in_for_a_film_that_cannot_be_decoded(tmp_path: Path, suffix: str) -> None:
    """As raw cameras write them: the film in their own codec, and a preview image."""
    thumbnail = Track(gray(640, 480), 1, rate=1, codec="mjpeg", disposition=DEFAULT)
    path = write_tracks(tmp_path / f"raw.{suffix}", [thumbnail, FILM])
    data = path.read_bytes()
    known, unknown = (b"avc1", b"braw") if suffix == "mp4" else (b"V_MPEG4/ISO/AVC", b"V_EXAMPLE/RAWXY")
    path.write_bytes(data.replace(known, unknown))
    with pytest.raises(VideoUndecodable, match=f"no decoder for its video codec '{unknown.decode()}'"):
        decode_clip(path)


@pytest.mark.parametrize(
    ("suffix", "known", "unknown"),
    [
        ("mp4", b"avc1", b"braw"),
        ("mov", b"avc1", b"CRAW"),
        ("avi", b"FMP4", b"QXYZ"),
        ("wmv", b"WMV2", b"QXYZ"),
        ("mkv", b"V_MPEG4/ISO/AVC", b"V_EXAMPLE/NOSUCH"),
    ],
)
def test_a_codec_without_a_decoder_is_named(
    *, tmp_path: Path, suffix: str, known: bytes, unknown: bytes
) -> None:
    codec = {"avi": "mpeg4", "wmv": "wmv2"}.get(suffix, "libx264")
    path = write_clip(tmp_path / f"a.{suffix}", [quarters()] * 3, codec=codec)
    path.write_bytes(path.read_bytes().replace(known, unknown[: len(known)]))
    with pytest.raises(
        VideoUndecodable, match=f"no decoder for its video codec '{unknown[: len(known)].decode()}"
    ):
        decode_clip(path)
