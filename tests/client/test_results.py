from __future__ import annotations

import json
from pathlib import Path

import pytest

from deepfake_triton.client.results import ResultFile
from deepfake_triton.errors import DatasetError

GOOD = {"video": "a.mp4", "verdict": "REAL", "error": None}
FAILED = {"video": "b.mp4", "verdict": None, "error": {"type": "X", "message": "y"}}


def test_what_was_judged_is_known_and_what_failed_is_not(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with ResultFile(path) as results:
        results.add(GOOD)
        results.add(FAILED)
    with path.open("a") as file:
        file.write('{"video": "c.mp4", "verd')  # killed meanwhile
    with ResultFile(path) as results:
        assert results.verdict_on("a.mp4") == GOOD
        assert results.verdict_on("b.mp4") is None and results.verdict_on("c.mp4") is None
        results.add({**FAILED, "error": None})
    assert [json.loads(line)["video"] for line in path.read_text().splitlines()] == ["a.mp4", "b.mp4"]


@pytest.mark.parametrize("content", [b"\x00\xff", b"path,label\na,b\n", b'{"a": 1}\n', b"[]\n", b"3\n3\n"])
def test_another_kind_of_file_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "precious.txt"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"precious\.txt"):
        ResultFile(path)
    assert path.read_bytes() == content


@pytest.mark.fast
def test_two_runs_do_not_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with ResultFile(path) as results:
        with pytest.raises(DatasetError, match="another run writes to it"):
            ResultFile(path)
        results.add(GOOD)
        results.add(FAILED)
    with ResultFile(path) as results:  # the failed line was taken out, in a new file
        with pytest.raises(DatasetError, match="another run writes to it"):
            ResultFile(path)
        results.add({**FAILED, "error": None})
    assert [json.loads(line)["video"] for line in path.read_text().splitlines()] == ["a.mp4", "b.mp4"]
    assert [each.name for each in tmp_path.iterdir()] == ["results.jsonl"]


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("/dev/full is Linux's")
    path = tmp_path / "results.jsonl"
    with ResultFile(path) as results:
        results._file = Path("/dev/full").open("a")  # noqa: SIM115 - the disk fills up meanwhile
        with pytest.raises(DatasetError, match="No space left"):
            results.add(GOOD)
        results._file = path.open("a")
