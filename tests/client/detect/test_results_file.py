from __future__ import annotations

import json
import os
import stat
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from deepfake_triton.client.detect.result_line import ResultLine
from deepfake_triton.client.detect.results_file import ResultsFile, drawn_files
from deepfake_triton.errors import DatasetError

pytestmark = pytest.mark.fast


def line(video: str, error: str | None = None, **more: object) -> dict[str, Any]:
    return {
        "video": video,
        "verdict": None if error else "REAL",
        "fake_probability": None if error else 0.25,
        "reason": None,
        "faces": [],
        "model": {},
        "error": {"type": error, "message": "y"} if error else None,
        **more,
    }


GOOD, FAILED = line("a.mp4"), line("b.mp4", "NotAVideo")


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in path.read_text().splitlines()]


def test_what_was_judged_is_known_and_what_failed_is_not(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with ResultsFile(path) as results:
        results.add(ResultLine(GOOD))
        results.add(ResultLine(FAILED))
        assert results.verdict_on("b.mp4") is None
    assert lines_of(path) == [GOOD, FAILED]
    with path.open("a") as file:
        file.write('{"video": "c.mp4", "verd')  # killed meanwhile
    with ResultsFile(path) as results:
        assert results.verdict_on("a.mp4") == ResultLine(GOOD)
        assert results.verdict_on("b.mp4") is None and results.verdict_on("c.mp4") is None
        results.add(ResultLine({**FAILED, "error": None}))
    assert [row["video"] for row in lines_of(path)] == ["a.mp4", "b.mp4"]


def test_a_new_line_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    (tmp_path / "real.jsonl").touch(mode=0o600)
    path.symlink_to("real.jsonl")
    with ResultsFile(path) as results:
        results.add(ResultLine(GOOD))
        results.add(ResultLine(line("c.mp4")))
    with ResultsFile(path) as results:
        results.add(ResultLine(line("a.mp4", later=True)))
        results.add(ResultLine(FAILED))
        results.add(ResultLine(FAILED))
    assert lines_of(path) == [line("c.mp4"), line("a.mp4", later=True), FAILED]
    assert path.is_symlink() and stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text(json.dumps(GOOD) + "\n" + json.dumps(line("a.mp4", later=True)) + "\n")  # killed between
    with ResultsFile(path) as results:
        assert results.verdict_on("a.mp4") == ResultLine(line("a.mp4", later=True))
    assert len(lines_of(path)) == 1


@pytest.mark.parametrize(
    "content",
    [
        *(b"\x00\xff", b"path,label\na,b\n", b'{"a": 1}\n', b"[]\n", b"3\n3\n"),
        *(b'{"video": "a.mp4"}\n', b'{"video": "a.mp4"}', b'{"path": "a.mp4"}', b'"a.mp4"', b"a.mp4"),
        *(b'{"video": "a.mp4", "verdict": "REAL", "error": null}\n', b"[" * 100_000),
    ],
)
def test_another_kind_of_file_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "precious.txt"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"precious\.txt"):
        ResultsFile(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "crafted",
    [{"fake_probability": "x"}, {"fake_probability": 7}, {"verdict": 1}, {"reason": []}, {"video": 3}],
)
def test_a_line_of_other_types_is_no_verdict(tmp_path: Path, crafted: dict[str, Any]) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps({**GOOD, **crafted}) + "\n")
    with pytest.raises(DatasetError, match="line 1: is no verdict"):
        ResultsFile(path)


def test_what_was_drawn_is_known_before_results_are_opened(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    assert drawn_files(path) == frozenset()
    with ResultsFile(path) as results:
        results.add(ResultLine(line("a.mp4", drawn=[str(tmp_path / "x" / ".." / "a.png")])))
        results.add(ResultLine(line("b.mp4", drawn=[])))
    assert drawn_files(path) == {str(tmp_path / "a.png")}
    for text in ('{"drawn": 3}', '{"drawn"', '{"drawn": [3, "a\\u0000"]}', '["drawn"]'):
        path.write_text(text)
        assert drawn_files(path) == frozenset()


def test_two_runs_do_not_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with ResultsFile(path) as results:
        with pytest.raises(DatasetError, match="another run writes to it"):
            ResultsFile(path)
        results.add(ResultLine(GOOD))
        results.add(ResultLine(FAILED))
    with ResultsFile(path) as results:  # the failed line was taken out, in a new file
        with pytest.raises(DatasetError, match="another run writes to it"):
            ResultsFile(path)
        results.add(ResultLine({**FAILED, "error": None}))
    assert [row["video"] for row in lines_of(path)] == ["a.mp4", "b.mp4"]
    assert [file.name for file in tmp_path.iterdir()] == ["results.jsonl"]


def test_a_full_disk_costs_one_line_and_no_other(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("/dev/full is Linux's")
    path = tmp_path / "results.jsonl"
    with ResultsFile(path) as results:
        results.add(ResultLine(GOOD))
        kept, results._file = results._file, FileIO("/dev/full", "a")  # the disk fills up meanwhile
        with pytest.raises(DatasetError, match="No space left"):
            results.add(ResultLine(FAILED))
        results._file.close()
        results._file = kept
        results.add(ResultLine(line("c.mp4")))
    assert lines_of(path) == [GOOD, line("c.mp4")]


def test_a_line_that_was_written_in_part_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.jsonl"
    with ResultsFile(path) as results:
        results.add(ResultLine(GOOD))

        def failing(_: int) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr("os.fsync", failing)
            with pytest.raises(DatasetError, match="No space left"):
                results.add(ResultLine(FAILED))
        results.add(ResultLine(line("c.mp4")))
    assert lines_of(path) == [GOOD, line("c.mp4")]


@pytest.mark.parametrize("place", ["/dev/full", "/dev/zero", "pipe", "folder", "link"])
def test_what_has_no_end_is_not_read(tmp_path: Path, place: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("/dev/zero")
    with pytest.raises(DatasetError, match="name a file"):
        ResultsFile(tmp_path / place)
