"""What may be named on the command line, and what it stands for."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake_triton.client.inputs import named_videos


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.mp4", "a.MOV", "deep/c.webm", "notes.txt", "deep/[x].mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def paths(*names: str | Path) -> list[str]:
    found = named_videos([str(name) for name in names])
    assert all(each.error is None for each in found)
    return [each.path for each in found]


def failure(name: str | Path) -> str:
    (only,) = named_videos([str(name)])
    assert only.error is not None and only.path == str(name)
    return f"{type(only.error).__name__}: {only.error}"


def test_a_folder_stands_for_the_videos_in_it_at_any_depth(folder: Path) -> None:
    assert paths(folder) == [str(folder / name) for name in ("a.MOV", "b.mp4", "deep/[x].mp4", "deep/c.webm")]


def test_a_pattern_stands_for_the_files_that_match(folder: Path) -> None:
    assert paths(folder / "*.mp4") == [str(folder / "b.mp4")]
    assert paths(folder / "**" / "*.mp4") == [str(folder / "b.mp4"), str(folder / "deep/[x].mp4")]
    assert paths(folder / "deep" / "[x].mp4") == [str(folder / "deep/[x].mp4")], "a file of that very name"
    assert "no file matches" in failure(folder / "*.avi")


def test_files_stay_as_they_are_however_often_named(folder: Path) -> None:
    names = [folder / "b.mp4", folder / "notes.txt", folder / "b.mp4", folder / "missing.mp4"]
    assert paths(*names) == [str(name) for name in names]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.csv", "label,path\nreal,b.mp4\nfake,/else/x.mp4\n"),
        ("list.csv", "video\nb.mp4\n/else/x.mp4\n"),
        ("list.jsonl", '{"path": "b.mp4"}\n\n{"video": "/else/x.mp4", "verdict": "FAKE"}\n'),
        ("list.jsonl", '"b.mp4"\n"/else/x.mp4"\n'),
    ],
)
def test_a_list_stands_for_what_it_names(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    assert paths(folder / name) == [str(folder / "b.mp4"), "/else/x.mp4"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list.csv", b"label,name\nreal,b.mp4\n", "expected one named path"),
        ("list.csv", b"path\n\n", "names no video"),
        ("list.csv", b"label,path\nreal,\n", "line 2: path is empty"),
        ("list.csv", b"\xff\xfe\x00", "cannot be read"),
        ("list.jsonl", b'{"path": "b.mp4"}\n{"path":', "line 2: is no JSON"),
        ("list.jsonl", b'{"name": "b.mp4"}\n', "line 1: expected an object"),
        ("list.jsonl", b"", "names no video"),
    ],
)
def test_a_list_that_makes_no_sense_is_named(folder: Path, name: str, content: bytes, message: str) -> None:
    (folder / name).write_bytes(content)
    assert failure(folder / name).startswith("DatasetError: ") and message in failure(folder / name)


def test_an_empty_folder_is_no_silence(tmp_path: Path) -> None:
    assert "without a video" in failure(tmp_path)


@given(st.text(max_size=40).filter(lambda text: text.strip("./~") != ""))
def test_any_text_stands_for_something(text: str) -> None:
    assert named_videos([text])
