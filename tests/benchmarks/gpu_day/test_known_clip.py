from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepfake_triton.benchmarks.gpu_day.known_clip import KnownClip, read_known_clip
from deepfake_triton.contracts import TYPICAL_FRAME_HW
from deepfake_triton.errors import InputError

pytestmark = pytest.mark.fast


def write_clip_file(path: Path, **changes: object) -> Path:
    values: dict[str, object] = {
        "frames": np.stack([np.full((8, 8, 3), 40 * index, np.uint8) for index in range(3)]),
        "pts_seconds": np.array([0.0, 0.04, 0.08]),
        "end_seconds": 0.12,
        "probabilities": np.array([0.2], np.float32),
        **changes,
    }
    np.savez_compressed(path, **{name: value for name, value in values.items() if value is not None})  # type: ignore[arg-type]
    return path


def test_what_was_written_comes_back_enlarged(tmp_path: Path) -> None:
    clip = read_known_clip(write_clip_file(tmp_path / "clip.npz"))
    assert clip.frames.data.shape == (3, *TYPICAL_FRAME_HW, 3) and clip.frames.data.dtype == np.uint8
    assert [int(np.median(frame)) for frame in clip.frames.data] == [0, 40, 80]
    assert clip.frames.pts_seconds.tolist() == [0.0, 0.04, 0.08] and clip.frames.end_seconds == 0.12
    assert clip.probabilities.tolist() == [np.float32(0.2)]


def test_the_worst_face_counts_and_another_number_of_faces_is_no_answer(tmp_path: Path) -> None:
    path = write_clip_file(tmp_path / "clip.npz", probabilities=np.array([0.25, 0.75], np.float32))
    clip: KnownClip = read_known_clip(path)
    assert clip.worst_difference([0.25, 0.5]) == 0.25 and clip.worst_difference([0.25, 0.75]) == 0
    assert clip.worst_difference([0.25]) is None and clip.worst_difference([]) is None


def test_a_file_that_is_no_clip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no archive")
    lacking = write_clip_file(tmp_path / "lacking.npz", probabilities=None)
    (tmp_path / "half.npz").write_bytes(lacking.read_bytes()[:200])
    for path in (tmp_path / "absent.npz", tmp_path / "text.npz", tmp_path / "half.npz", lacking):
        with pytest.raises(InputError, match=r"cannot be read as a clip: .*write it with `clip`"):
            read_known_clip(path)
