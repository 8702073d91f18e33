"""Memory and time of decoding do not grow with the length of the video, nor with what its header claims."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from support import write_clip

from deepfake_triton.preprocessing.video.sampling import FrameSelection
from deepfake_triton.preprocessing.video.windows import VideoWindows

pytestmark = pytest.mark.compute


def test_memory_does_not_grow_with_the_length_of_the_video(tmp_path: Path) -> None:
    """Peak memory of a fresh process: a video twenty times as long costs less than ten more frames."""

    def peak_kib(count: int) -> int:
        frames = [np.full((360, 640, 3), 5 * (index % 50), np.uint8) for index in range(60)]
        path = write_clip(tmp_path / f"{count}.mp4", frames * (count // 60))
        code = (
            "import sys, resource; from deepfake_triton.preprocessing.video.clip import decode_clip;"
            "from deepfake_triton.preprocessing.video.sampling import *;"
            "decode_clip(sys.argv[1], FrameSelection(5, Sampling.UNIFORM));"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    assert peak_kib(1200) < peak_kib(60) + 10 * 640 * 360 * 3 // 1024


def test_one_frame_after_another_would_take_longer(tmp_path: Path) -> None:
    """The time grows with the windows, not with the video."""
    scenes = [np.random.default_rng(seed).integers(0, 255, (360, 640, 3), np.uint8) for seed in range(5)]
    took = []
    for seconds in (4, 40):
        path = tmp_path / f"{seconds}.mp4"
        images = [scenes[index % 5] for index in range(25 * seconds)]
        write_clip(path, images, codec_options={"g": "25", "preset": "ultrafast"})
        times = []
        for _ in range(3):
            started = time.process_time()
            assert len(list(VideoWindows(path, FrameSelection(5, windows=4)))) == 4
            times.append(time.process_time() - started)
        took.append(min(times))
    assert took[1] < 3 * took[0]


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header promises that many pixels (RFC 2083)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(65535, 65535), (16384, 12000)])
def test_giant_frames_that_a_file_claims_cost_nothing(tmp_path: Path, size: tuple[int, int]) -> None:
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(png_claiming(*size))
    code = (
        "import resource, sys\n"
        "from deepfake_triton.errors import InputError\n"
        "from deepfake_triton.preprocessing.video.clip import decode_clip\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "before = peak()\n"
        "try: decode_clip(sys.argv[1])\n"
        "except InputError as error: print(type(error).__name__, peak() - before)\n"
    )
    told = subprocess.run([sys.executable, "-c", code, bomb], capture_output=True, text=True, check=True)
    name, grown_mib = told.stdout.split()
    assert name in ("VideoTooLarge", "VideoUndecodable", "NotAVideo") and int(grown_mib) < 50
