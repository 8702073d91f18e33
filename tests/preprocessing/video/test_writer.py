"""A video that cannot be written leaves no file, and an error that says why."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest
from support import write_clip

from deepfake_triton.errors import InputError
from deepfake_triton.preprocessing.video.timed_frames import TimedFrame, read_frames
from deepfake_triton.preprocessing.video.writer import write_video

pytestmark = pytest.mark.fast


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 256, (20, 240, 320, 3), dtype=np.uint8)
    return write_clip(tmp_path / "clip.mp4", list(noise))


def test_the_file_that_cannot_be_written_is_named_and_not_the_one_that_is_read(
    clip: Path, tmp_path: Path
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    frames = list(read_frames(clip))
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(InputError, match=r"over\.mp4: cannot be written: .*File too large"):
            write_video(tmp_path / "over.mp4", frames, sound=clip)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_names_are_as_long_as_the_disk_takes(tmp_path: Path) -> None:
    frame = TimedFrame(np.zeros((32, 32, 3), np.uint8), 0.0)
    longest = tmp_path / f"{'x' * 251}.mp4"
    assert write_video(longest, [frame]) == 1 and longest.is_file()
    with pytest.raises(InputError, match="cannot be written: File name too long"):
        write_video(tmp_path / f"{'x' * 252}.mp4", [frame])


def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "link.mp4").symlink_to("real.mp4")
    write_video(tmp_path / "link.mp4", [TimedFrame(np.zeros((32, 32, 3), np.uint8), 0.0)])
    assert (tmp_path / "link.mp4").is_symlink() and (tmp_path / "real.mp4").stat().st_size
