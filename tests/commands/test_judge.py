"""`judge`: a server of its own, a report and a table, and nothing that stays."""

from __future__ import annotations

import contextlib
import csv
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from deepfake_triton import cli
from deepfake_triton.client import DeepfakeClient, FrameSelection
from deepfake_triton.commands import judge, judged_files
from deepfake_triton.files.hashing import sha256_of_file
from deepfake_triton.serving.server import TritonServer

pytestmark = pytest.mark.triton

COMMAND = str(Path(sys.executable).with_name("deepfake-triton"))


def marked(mark: str) -> list[str]:
    """Processes, of whatever name, that inherited `mark` in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                if mark.encode() in (entry / "environ").read_bytes():
                    found.append((entry / "cmdline").read_text())
    return found


@pytest.fixture(scope="module")
def folder(two_people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip with a hostile name, and a file that is no video."""
    folder = tmp_path_factory.mktemp("videos")
    (folder / "=<b>two.mp4").write_bytes(two_people.read_bytes())
    (folder / "notes.mp4").write_text("no video\n" * 200)
    return folder


def test_a_folder_is_judged_by_a_server_of_its_own_that_ends(
    folder: Path, published_repository: Path, tmp_path: Path
) -> None:
    mark, report = f"JUDGE_MARK={uuid.uuid4()}", tmp_path / "out/report.html"
    done = subprocess.run(
        [COMMAND, "judge", str(folder), "--report", str(report), "--repository", str(published_repository)],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "JUDGE_MARK": mark.split("=")[1]},
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert marked(mark) == []
    assert len(done.stdout.splitlines()) == 1 and "=<b>two.mp4: " in done.stdout
    assert "notes.mp4: not a video" in done.stderr and f"wrote {report}" in done.stderr
    with (tmp_path / "out/verdicts.csv").open(newline="") as file:
        judged, failed = csv.DictReader(file)
    assert judged["sha256"] == sha256_of_file(folder / "=<b>two.mp4") and judged["persons"] == "2"
    assert judged["verdict"] in {"FAKE", "REAL", "INCONCLUSIVE"} and float(judged["fake_probability"]) > 0
    assert failed["error_type"] == "NotAVideo" and failed["verdict"] == ""
    text = report.read_text()
    assert "=&lt;b&gt;two.mp4" in text and "<b>two" not in text and judged["sha256"] in text
    assert text.count('src="data:image/jpeg;base64,') == 2
    assert sorted(path.name for path in report.parent.iterdir()) == ["report.html", "verdicts.csv"]


def test_the_verdicts_are_those_of_detect(
    two_people: Path, published_server: TritonServer, tmp_path: Path
) -> None:
    arguments = [str(two_people), "--report", str(tmp_path / "r.html"), "--csv", str(tmp_path / "t.csv")]
    assert cli.main(["judge", *arguments, "--url", published_server.url]) == 0
    with DeepfakeClient(published_server.url) as client:
        expected = client.detect(two_people, FrameSelection(windows=8))
    with (tmp_path / "t.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["verdict"] == expected.verdict.value and row["file"] == str(two_people)
    assert float(row["fake_probability"]) == pytest.approx(expected.fake_probability, abs=1e-4)
    assert int(row["frames_decoded"]) == expected.frames_decoded


def test_an_output_never_replaces_an_input(two_people: Path, tmp_path: Path) -> None:
    listed = tmp_path / "verdicts.csv"
    listed.write_text(f"path\n{two_people}\n")
    before = listed.read_bytes()
    assert cli.main(["judge", str(listed), "--report", str(tmp_path / "r.html")]) == 2
    assert listed.read_bytes() == before


def test_an_interrupted_run_ends_its_server_and_writes_what_was_judged(
    two_people: Path, published_repository: Path, tmp_path: Path
) -> None:
    mark, report = f"JUDGE_MARK={uuid.uuid4()}", tmp_path / "report.html"
    process = subprocess.Popen(
        [COMMAND, "judge", *[str(two_people)] * 200, "--report", str(report), "--repository",
         str(published_repository)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "JUDGE_MARK": mark.split("=")[1]},
    )  # fmt: skip
    assert process.stdout is not None
    assert "two.mp4" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "of 200 videos were judged" in said
    deadline = time.monotonic() + 10
    while marked(mark) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert marked(mark) == []
    rows = list(csv.DictReader((tmp_path / "verdicts.csv").open(newline="")))
    assert 1 <= len(rows) < 200 and all(row["verdict"] for row in rows)
    assert f"Interrupted: {len(rows)} of 200 files were judged." in report.read_text()


def test_a_second_report_does_not_replace_the_table_of_the_first(
    two_people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "verdicts.csv"
    table.write_text("of the first report")
    assert cli.main(["judge", str(two_people), "--report", str(tmp_path / "second.html")]) == 2
    assert "name another table with --csv" in capsys.readouterr().err
    assert table.read_text() == "of the first report"


def test_files_of_a_folder_that_are_not_judged_are_counted(
    two_people: Path, default_server: TritonServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "videos"
    (folder / "more").mkdir(parents=True)
    (folder / "two.mp4").symlink_to(two_people)
    for name in ("photo.jpg", "more/list.csv"):
        (folder / name).write_text("skipped")
    arguments = ["judge", str(folder), "--report", str(tmp_path / "r.html"), "--url", default_server.url]
    assert cli.main([*arguments, "--windows", "1"]) == 0
    assert "skipped 2 files in folders" in capsys.readouterr().err


def test_an_unexpected_error_does_not_lose_what_was_judged(
    two_people: Path, default_server: TritonServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = tmp_path / "second.mp4"
    second.symlink_to(two_people)
    fingerprint_of = judged_files.fingerprint

    def fail_on_second(path: Path) -> tuple[str | None, int | None]:
        if path == second:
            raise ZeroDivisionError
        return fingerprint_of(path)

    monkeypatch.setattr(judge, "fingerprint", fail_on_second)
    arguments = [str(two_people), str(second), "--report", str(tmp_path / "r.html"), "--windows", "1"]
    with pytest.raises(ZeroDivisionError):
        cli.main(["judge", *arguments, "--url", default_server.url])
    assert [row["file"] for row in csv.DictReader((tmp_path / "verdicts.csv").open(newline=""))] == [
        str(two_people)
    ]
    assert "1 of 2 files were judged" in (tmp_path / "r.html").read_text()


def test_a_token_that_others_can_read_is_warned_of(
    two_people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEEPFAKE_TRITON_TOKEN", "a-token")
    arguments = [str(two_people), "--report", str(tmp_path / "r.html"), "--timeout", "0.1"]
    assert cli.main(["judge", *arguments, "--url", "192.0.2.1:8001", "--allow-plaintext"]) == 1
    said = capsys.readouterr().err
    assert "192.0.2.1:8001: the token of DEEPFAKE_TRITON_TOKEN goes there unencrypted" in said
    assert "a-token" not in said
