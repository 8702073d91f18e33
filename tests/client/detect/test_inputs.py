"""What may be named on the command line, and what it stands for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake_triton.client.detect.inputs import expand_videos

pytestmark = pytest.mark.fast


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.mp4", "a.MOV", "deep/c.webm", "notes.txt", "deep/[x].mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def paths(*names: str | Path) -> list[str]:
    found = expand_videos([str(name) for name in names])
    assert all(video.error is None for video in found)
    return [video.path for video in found]


def failure(name: str | Path) -> str:
    (only,) = expand_videos([str(name)])
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
        ("list.jsonl", '\ufeff{"path": "b.mp4"}\r\n{"path": "/else/x.mp4"}\r\n'),
        ("list.csv", "\ufeffpath,label\r\nb.mp4,1\r\n/else/x.mp4,0\r\n"),
        ("list.csv", "path;label\nb.mp4;1\n/else/x.mp4;0\n"),
        ("list.csv", "\ufeffsep=;\r\nlabel;path\r\n1;b.mp4\r\n0;/else/x.mp4\r\n"),
        ("list.csv", "label\tPath\n1\tb.mp4\n0\t/else/x.mp4\n"),
        ("list.csv", "label, path\n1, b.mp4\n0, /else/x.mp4\n"),
        ("list.csv", 'label, "VIDEO" \n1, "b.mp4"\n0, "/else/x.mp4"\n'),
        ("list.csv", 'path\r"b.mp4"\r/else/x.mp4\r'),
        ("list.csv", "\r\n  \r\npath,label\r\nb.mp4,1\r\n,\r\n/else/x.mp4,0\r\n"),
        ("list.csv", "Path , Label\nb.mp4 , 1\n/else/x.mp4, 0\n"),
    ],
)
def test_a_list_stands_for_what_it_names(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text, newline="")
    assert paths(folder / name) == [str(folder / "b.mp4"), "/else/x.mp4"]
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"):
        (folder / name).write_text(text.removeprefix("\ufeff").lstrip(), newline="", encoding=encoding)
        assert paths(folder / name) == [str(folder / "b.mp4"), "/else/x.mp4"], encoding


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("list.csv", b"path\n b.mp4\n", b" b.mp4"),
        ("list.csv", b"path,x\nnone.mp4 ,1\n", b"none.mp4 "),
        ("list.csv", b"path,x\nb\xff.mp4,1\n", b"b\xff.mp4"),
        ("list.csv", b'path\n"a\nb, c;d.mp4"\n', b"a\nb, c;d.mp4"),
        ("list.csv", b"path;x\na,b.mp4;1\n", b"a,b.mp4"),
        ("list.jsonl", b'{"path": "a\\nb\xe2\x80\xa8c.mp4"}\n', "a\nb\u2028c.mp4".encode()),
    ],
)
def test_names_in_lists_stay_as_they_are(*, folder: Path, name: str, content: bytes, expected: bytes) -> None:
    (folder / name).write_bytes(content)
    assert paths(folder / name) == [str(folder / os.fsdecode(expected))]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list.csv", b"label,name\nreal,b.mp4\n", "expected one named path"),
        ("list.csv", b"path\n\n", "names no video"),
        ("list.csv", b"label,path\nreal,\n", "line 2: path is empty"),
        ("list.csv", b"\xff\xfe\x00", "cannot be read"),
        ("list.jsonl", b'{\n  "path": "b.mp4"\n}', "line 1: is no JSON"),
        ("list.jsonl", b'{"name": "b.mp4"}\n', "line 1: expected an object"),
        ("list.jsonl", b"", "names no video"),
    ],
)
def test_a_list_that_makes_no_sense_is_named(
    *, folder: Path, name: str, content: bytes, message: str
) -> None:
    (folder / name).write_bytes(content)
    assert failure(folder / name).startswith("DatasetError: ") and message in failure(folder / name)


@pytest.mark.parametrize(
    ("name", "text", "line", "message"),
    [
        ("list.csv", "path,x\nb.mp4,1\n,2\na.MOV,3\n", 3, "path is empty"),
        ("list.csv", "sep=;\nx;path\n1;b.mp4\n2\n3;a.MOV\n", 4, "path is empty"),
        ("list.csv", f"path\nb.mp4\n{'x' * 140_000}\na.MOV\n", 3, "field larger than field limit"),
        ("list.csv", 'x,path\n1,b.mp4\n2,"gone.mp4\n\n3,a.MOV\n', 3, "a quote is not closed"),
        ("list.csv", 'path\nb.mp4\n"gone\n' + "\n" * 140_000 + "a.MOV\n", 3, "field larger than field limit"),
        ("list.jsonl", '{"path": "b.mp4"}\n\n{"path":\n"a.MOV"', 3, "is no JSON"),
        ("list.jsonl", '"b.mp4"\n{"path": 5}\n"a.MOV"', 2, "expected an object"),
    ],
)
def test_a_row_that_names_no_video_is_one_line_and_the_others_are_judged(
    *, folder: Path, name: str, text: str, line: int, message: str
) -> None:
    (folder / name).write_text(text)
    before, wrong, after = expand_videos([str(folder / name)])
    assert (before.path, after.path) == (str(folder / "b.mp4"), str(folder / "a.MOV"))
    assert before.error is None and after.error is None
    assert wrong.path == f"{folder / name}, line {line}"
    assert str(wrong.error).startswith(f"{wrong.path}: {message}")


@pytest.mark.parametrize(
    "address", ["https://x.org/a.mp4", "RTSP://cam/1", "s3://bucket/a.mp4", "file:///tmp/a.mp4"]
)
def test_an_address_is_named_as_one(folder: Path, address: str) -> None:
    assert failure(address).startswith(f"VideoUnreadable: {address}: is an address")
    (folder / "list.csv").write_text(f"path\n{address}\nb.mp4\n")
    of_list, file = expand_videos([str(folder / "list.csv")])
    assert of_list.path == address and "is an address" in str(of_list.error)
    assert file.path == str(folder / "b.mp4") and file.error is None


def test_an_empty_name_is_not_this_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert "an empty name" in failure("")
    assert paths(".") == ["a.MOV", "b.mp4", "deep/[x].mp4", "deep/c.webm"]
    assert "~ is left to the shell" in failure("~/none.mp4")


def test_what_nobody_means_is_left_out_of_folders_and_patterns(folder: Path) -> None:
    hidden = [
        *("._b.mp4", ".hidden.mp4", "__MACOSX/._b.mp4", "__MACOSX/b.mp4", "@eaDir/b.mp4/SYNO.mp4"),
        *(".Trashes/old.mp4", "$RECYCLE.BIN/x.mp4", "System Volume Information/x.mp4", "#recycle/x.mp4"),
        *("lost+found/x.mp4", "deep/.Trash-1000/x.mp4", "deep/$Recycle.Bin/x.mp4"),
    ]
    for name in hidden:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    kept = [str(folder / name) for name in ("a.MOV", "b.mp4", "deep/[x].mp4", "deep/c.webm")]
    assert paths(folder) == kept
    assert paths(folder / "**" / "*.*[4mV]") == kept
    for name in hidden[:4]:
        assert paths(folder / name) == [str(folder / name)], "named by itself it is meant"
    assert paths(folder / "__MACOSX" / "*.mp4") == [str(folder / "__MACOSX/b.mp4")]


def test_linked_folders_are_entered_once_and_circles_end(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "z-elsewhere.d"
    elsewhere.mkdir()
    (elsewhere / "far.mkv").touch()
    (folder / "deep" / "link").symlink_to(elsewhere)
    (folder / "deep" / "up").symlink_to(folder)
    (folder / "deep" / "self").symlink_to("self")
    (folder / "a-link-to-deep").symlink_to(folder / "deep")
    (folder / "gone.mp4").symlink_to(folder / "missing.mp4")
    names = ("a.MOV", "b.mp4", "deep/[x].mp4", "deep/c.webm", "gone.mp4", "z-elsewhere.d/far.mkv")
    assert paths(folder) == [str(folder / name) for name in names]
    (folder / "deep" / "up").unlink()
    assert str(folder / "deep/link/far.mkv") in paths(folder / "deep"), "a link that leads out"
    assert paths(folder / "**" / "far.mkv") == [str(folder / "z-elsewhere.d/far.mkv")]
    for number in range(3):
        (folder / f"circle-{number}").symlink_to(folder)
        (folder / "deep" / f"circle-{number}").symlink_to(folder)
    assert paths(folder / "**" / "d*p" / "**" / "*.*m*") == [
        str(folder / "deep" / name) for name in ("[x].mp4", "c.webm")
    ]
    assert len(paths(folder / "**")) == 8 and len(paths(folder / "*" / "c.webm")) == 1


def test_what_is_no_file_but_named_like_a_video_gets_its_line_too(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "x.mp4").mkdir()
    (tmp_path / "x.mp4" / "y.ts").touch()
    assert paths(tmp_path) == [str(tmp_path / "pipe.mp4"), str(tmp_path / "x.mp4" / "y.ts")]


def test_what_an_earlier_run_drew_is_no_video_unless_it_is_named(folder: Path) -> None:
    drawn = {os.path.realpath(folder / name) for name in ("b.mp4", "deep/c.webm")}

    def found(name: str) -> list[str]:
        return [video.path for video in expand_videos([str(folder / name)], drawn)]

    assert found("") == [str(folder / name) for name in ("a.MOV", "deep/[x].mp4")]
    assert found("**/*.mp4") == [str(folder / "deep/[x].mp4")]
    assert found("b.mp4") == [str(folder / "b.mp4")]


def test_an_empty_folder_is_no_silence(tmp_path: Path) -> None:
    assert "without a video" in failure(tmp_path)


@given(st.text(max_size=40).filter(lambda text: text.strip("./~") != ""))
def test_any_text_stands_for_something(text: str) -> None:
    assert expand_videos([text])
