from __future__ import annotations

import os
from pathlib import Path

import pytest

from deepfake_triton.errors import OutputRefused
from deepfake_triton.files.atomic import is_possible_name
from deepfake_triton.files.outputs import (
    OutputFile,
    make_folders,
    require_distinct_outputs,
)

pytestmark = pytest.mark.fast


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"precious")
    return path


def refusal(inputs: list[str | Path], *outputs: OutputFile) -> str:
    with pytest.raises(OutputRefused) as caught:
        require_distinct_outputs(inputs, outputs)
    return str(caught.value)


def test_an_output_that_is_an_input_is_refused_however_it_is_named(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = video.parent
    (folder / "soft.mp4").symlink_to(video)
    (folder / "hard.mp4").hardlink_to(video)
    (folder / "elsewhere").symlink_to(folder)
    monkeypatch.chdir(folder)
    for name in ("clip.mp4", "./clip.mp4", "soft.mp4", "hard.mp4", "elsewhere/clip.mp4", str(video)):
        text = refusal([str(video)], OutputFile("--overlay", Path(name)))
        assert text.startswith(f"--overlay: {Path(name)} is the input {video}")
        refusal([name], OutputFile("--overlay", video))
    require_distinct_outputs([video], [OutputFile("--overlay", folder / "other.mp4")])
    assert video.read_bytes() == b"precious"


def test_an_input_that_is_not_there_is_not_made_by_an_output(tmp_path: Path) -> None:
    text = refusal([tmp_path / "a" / ".." / "missing.mp4"], OutputFile("--output", tmp_path / "missing.mp4"))
    assert "is the input" in text and not (tmp_path / "missing.mp4").exists()


def test_names_that_no_file_can_have_are_no_fault_here(tmp_path: Path) -> None:
    require_distinct_outputs(["a\0b", "", "x" * 5000], [OutputFile("--plot", tmp_path / "a.png")])
    require_distinct_outputs([], [OutputFile("--plot", tmp_path / "a\0b.png")])
    for name in ("a\0b", "x" * 256, "\ud800", f"new/{'x' * 256}/a", "a/" * 3000):
        assert not is_possible_name(tmp_path / name)
    assert is_possible_name(tmp_path / "new" / ("x" * 255)) and is_possible_name(tmp_path / "\udcff")
    assert list(tmp_path.iterdir()) == []


def test_two_videos_do_not_share_one_output(tmp_path: Path) -> None:
    first = OutputFile("--plot", tmp_path / "x.png", "a/x.mp4")
    for second in (tmp_path / "x.png", tmp_path / "X.PNG"):
        text = refusal([], first, OutputFile("--plot", second, "b/x.mp4"))
        assert "a/x.mp4 and b/x.mp4" in text and "{number}" in text
    assert "--plot and --output both name" in refusal([], first, OutputFile("--output", first.path))
    require_distinct_outputs([], [first, first, OutputFile("--plot", tmp_path / "y.png", "b/x.mp4")])


def test_folders_are_made_or_refused(tmp_path: Path) -> None:
    make_folders([OutputFile("--plot", tmp_path / "new" / "deep" / "x.png")])
    assert not list((tmp_path / "new" / "deep").iterdir())
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "x.png", tmp_path / "file" / "deep" / "x.png", Path("/proc/x/y.png")):
        with pytest.raises(OutputRefused, match=r"--plot: .*cannot be written there"):
            make_folders([OutputFile("--plot", path)])
    assert "is a folder" in refusal([], OutputFile("--plot", tmp_path / "new"))
    assert "name too long" in refusal([], OutputFile("--plot", tmp_path / ("x" * 300 + ".png"))).lower()


def test_pipes_and_devices_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.md")
    for path in (tmp_path / "pipe.md", Path("/dev/null")):
        assert "is a pipe or a device; name a file" in refusal([], OutputFile("--output", path))
