"""The small copy for the page's player: what it shows, how large it is, and its clock."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
import pytest
from decoder_uploads import upload_from
from photo_files import jpeg_photo
from support import backdrop, quarter_colors, quarters, write_clip

from deepfake_triton.arrays import Image
from deepfake_triton.gateway.decoding.pool import DecoderPool
from deepfake_triton.preprocessing.video.clip import decode_clip

pytestmark = pytest.mark.triton


def preview_of(pool: DecoderPool, path: Path) -> BinaryIO:
    preview = asyncio.run(pool.make_preview(upload_from(path)))
    assert preview is not None
    return preview


def frames_of(preview: BinaryIO) -> tuple[list[float], list[Image]]:
    times, images = [], []
    with av.open(preview, "r") as container:
        stream: Any = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        for frame in container.decode(stream):
            times.append(float(frame.time))
            images.append(frame.to_ndarray(format="rgb24"))
    return times, images


def test_it_is_small_upright_and_on_the_clock_of_the_verdict(pool: DecoderPool, tmp_path: Path) -> None:
    times_ms = [120, 400, 440, 1000]  # the first frame comes after the sound, and there is a pause
    sideways = [np.ascontiguousarray(np.rot90(quarters(1280, 720)))] * 4
    path = write_clip(tmp_path / "phone.mp4", sideways, pts_ms=times_ms, rotation=-90, sound_seconds=1)
    with preview_of(pool, path) as preview:
        times, images = frames_of(preview)
        preview.seek(0)
        head = preview.read(1 << 12)
    assert decode_clip(path).frames.pts_seconds == pytest.approx([0.12, 0.4, 0.44, 1.0], abs=1e-3)
    assert images[0].shape == (480, 854, 3)
    assert quarter_colors(images[0]) == quarter_colors(quarters()) == quarter_colors(images[-1])
    assert times == pytest.approx([0.0, 0.12, 0.4, 0.44, 1.0], abs=1e-3)
    assert head.index(b"moov") < 64, "a browser plays it before it has all of it"


def test_it_ends_after_a_minute_and_keeps_30_frames_a_second(pool: DecoderPool, tmp_path: Path) -> None:
    images = [backdrop(48, 64, seed) for seed in range(60)]
    times_ms = [10 * at for at in range(50)] + [
        58_000,
        59_000,
        60_000,
        61_000,
        62_000,
        63_000,
        64_000,
        65_000,
    ]
    path = write_clip(tmp_path / "long.mkv", images[: len(times_ms)], pts_ms=times_ms)
    with preview_of(pool, path) as preview:
        times, _ = frames_of(preview)
    assert 12 <= sum(time < 0.5 for time in times) <= 16
    assert times[-1] == pytest.approx(59.0, abs=1e-3)


def test_it_is_no_larger_than_needed(pool: DecoderPool, clip_path: Path) -> None:
    with preview_of(pool, clip_path) as preview:
        assert 20_000 < preview.seek(0, os.SEEK_END) < clip_path.stat().st_size / 2


def test_noise_at_irregular_times_is_bounded_and_has_its_index_first(
    pool: DecoderPool, tmp_path: Path
) -> None:
    noise = np.random.default_rng(1)
    images = [noise.integers(0, 255, (240, 320, 3), np.uint8) for _ in range(90)]
    times_ms = np.cumsum(noise.integers(34, 50, len(images))).tolist()
    path = write_clip(tmp_path / "noise.mkv", images, pts_ms=times_ms, codec="mjpeg", pixel_format="yuvj420p")
    with preview_of(pool, path) as preview:
        times, _ = frames_of(preview)
        size = preview.seek(0, os.SEEK_END)
        preview.seek(0)
        assert preview.read(1 << 12).index(b"moov") < 64
    assert len(times) == 90
    assert size < times[-1] * 1_500_000 / 8 + 375_000 + 20_000, "1.5 Mbit/s, and what the buffer allows once"


def test_a_photo_becomes_a_short_clip(pool: DecoderPool, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(jpeg_photo(6))
    with preview_of(pool, path) as preview:
        times, images = frames_of(preview)
    assert times[0] == 0.0 and times[-1] == pytest.approx(1.5)
    assert images[0].shape == (120, 200, 3)
    assert quarter_colors(images[-1]) == quarter_colors(quarters())


@pytest.mark.parametrize("data", [b"", b"no video", b"\0\0\0\x18ftypisom" + bytes(5000)])
def test_what_cannot_be_read_has_no_preview(pool: DecoderPool, tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "broken.mp4"
    path.write_bytes(data)
    assert asyncio.run(pool.make_preview(upload_from(path))) is None


def test_a_canceled_preview_ends_its_child(pool: DecoderPool, clip_path: Path) -> None:
    async def cancel() -> None:
        task = asyncio.create_task(pool.make_preview(upload_from(clip_path)))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    with preview_of(pool, clip_path) as preview:
        assert len(frames_of(preview)[0]) > 100
