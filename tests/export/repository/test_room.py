"""The place of an export: what it needs is noticed before anything is built."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from support import OTHER_USER, as_other_user, new_version

from deepfake_triton.errors import RepositoryConflict
from deepfake_triton.export.options import ExportOptions
from deepfake_triton.export.pipeline import export
from deepfake_triton.export.repository.layout import (
    publish,
    require_room,
    require_writable,
)

pytestmark = pytest.mark.fast


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to act as another user")
@pytest.mark.parametrize("exists", [True, False])
def test_an_output_that_cannot_be_written_is_noticed_at_once(shared_folder: Path, exists: bool) -> None:
    output = shared_folder / "deep" / "repository"
    if exists:
        publish(new_version(shared_folder, 1), output)
    began = time.monotonic()
    said = as_other_user(lambda: export(ExportOptions(output)))
    assert time.monotonic() - began < 10
    place = output if exists else shared_folder
    assert said.startswith(
        f"RepositoryConflict: {place}: cannot be written: Permission denied; name a folder"
    )
    assert not list(shared_folder.rglob(".partial*"))
    (shared_folder / "mine").mkdir()
    os.chown(shared_folder / "mine", OTHER_USER, OTHER_USER)
    assert as_other_user(lambda: require_writable(shared_folder / "mine" / "repository")) == "None"


def test_folders_that_cannot_take_a_version(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("")
    publish(new_version(tmp_path, 1), tmp_path / "repository")
    with pytest.raises(RepositoryConflict, match="is a file"):
        require_room(tmp_path / "file", 112)
    with pytest.raises(RepositoryConflict, match="other files"):
        require_room(tmp_path / "home", 112)
    with pytest.raises(RepositoryConflict, match="crops of 112 px, the new version wants 224"):
        require_room(tmp_path / "repository", 224)
    require_room(tmp_path / "repository", 112)
    require_room(tmp_path / "new", 224)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for place in ("file/repository", "link"):
        with pytest.raises(RepositoryConflict, match=r"is a file|Not a directory"):
            require_writable(tmp_path / place)
    assert not list(tmp_path.rglob(".partial*"))
