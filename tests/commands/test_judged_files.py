"""What `judge` skips of the folders it is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepfake_triton.client.detect.inputs import expand_videos
from deepfake_triton.commands.judged_files import fingerprint, num_skipped

pytestmark = pytest.mark.fast


def test_files_that_are_not_videos_are_counted(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    for name in ("a.mp4", "photo.jpg", "more/list.csv", "more/b.mp4"):
        (tmp_path / name).write_text("x")
    assert num_skipped([str(tmp_path)], expand_videos([str(tmp_path)])) == 2


def test_what_cannot_be_looked_at_counts_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("closed.jpg", "photo.jpg"):
        (tmp_path / name).write_text("x")
    is_file = Path.is_file

    def refuse_closed(path: Path) -> bool:
        if path.name == "closed.jpg":
            raise PermissionError(13, "Permission denied")
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", refuse_closed)  # root may look at everything
    assert num_skipped([str(tmp_path), "x" * 5000], []) == 1
    assert fingerprint(tmp_path / "closed.jpg") == (None, None)
