"""Files that `detect` writes: never over what it reads, and nothing is lost where one of them fails."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from network import free_port

from deepfake_triton import cli
from deepfake_triton.client import DeepfakeClient
from deepfake_triton.errors import InputError
from deepfake_triton.serving.server import TritonServer

NOWHERE = ("--url", "127.0.0.1:1")


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """What is said where an option is refused, before any server is asked."""
    assert cli.main(["detect", *map(str, arguments), *NOWHERE]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    return shown.err


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "x.mp4"
    path.write_bytes(b"precious")
    return path


@pytest.mark.fast
def test_an_output_that_is_an_input_is_refused(
    *, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "soft.mp4").symlink_to(video)
    (tmp_path / "hard.mp4").hardlink_to(video)
    monkeypatch.chdir(tmp_path)
    for output in (video, "x.mp4", "soft.mp4", "hard.mp4", "{name}.mp4"):
        assert "--overlay: " in refusal(capsys, video, "--overlay", output)
    assert "is the input" in refusal(capsys, tmp_path, "--overlay", tmp_path / "{name}.mp4")
    assert "is the input" in refusal(capsys, video, "--output", video)
    assert video.read_bytes() == b"precious"


@pytest.mark.fast
@pytest.mark.parametrize("text", ['{"video": "x.mp4"}\n', '{"path": "x.mp4"}', '"x.mp4"\n'])
def test_a_list_is_no_place_for_its_results(
    *, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    listed, other = tmp_path / "list.jsonl", tmp_path / "other.jsonl"
    listed.write_text(text)
    other.write_text(text)
    assert f"--output: {listed} is the input {listed}" in refusal(capsys, listed, "--output", listed)
    assert cli.main(["detect", str(video), "--output", str(other), *NOWHERE]) == 1
    assert "is no verdict" in capsys.readouterr().err
    assert listed.read_text() == other.read_text() == text


@pytest.mark.fast
@pytest.mark.parametrize("second", ["b/x.mp4", "b/X.MP4", "a/x.mov"])
def test_two_videos_of_one_name_need_their_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], second: str
) -> None:
    paths = [tmp_path / "a/x.mp4", tmp_path / second]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    said = refusal(capsys, *paths, "--plot", tmp_path / "plots" / "{name}.png")
    assert "{number}" in said and all(str(path) in said for path in paths)
    assert not (tmp_path / "plots").exists()


@pytest.mark.fast
def test_folders_are_made_or_refused_first(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option, name in (("--plot", "p.png"), ("--overlay", "o.mp4"), ("--output", "r.jsonl")):
        assert "cannot be written there" in refusal(capsys, video, option, video / name)
        assert "is a folder" in refusal(capsys, video, option, _folder(tmp_path / name))
    assert "need {name}" in refusal(capsys, video, video, "--plot", tmp_path / "a.png")


@pytest.mark.fast
@pytest.mark.parametrize("name", ["a\0b.mp4", "y" * 251 + ".mp4", "z" * 300 + ".mp4", "\ud800.mp4"])
def test_a_name_that_no_drawing_can_have_is_not_the_other_videos_fault(
    *, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    listed = tmp_path / "list.jsonl"
    listed.write_text("".join(json.dumps(str(path)) + "\n" for path in (video, tmp_path / name, video)))
    drawings = (
        "--plot",
        str(tmp_path / "p" / "{name}.png"),
        "--overlay",
        str(tmp_path / "{name}" / "over.mp4"),
    )
    assert cli.main(["detect", str(listed), "--json", *drawings, *NOWHERE]) == 1
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["video"] for answer in answers] == [str(video), str(tmp_path / name), str(video)]


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


class Run:
    """One batch that is judged again and again."""

    def __init__(self, server: TritonServer, output: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.url, self.output, self._capsys = server.url, output, capsys

    def __call__(self, *arguments: str | Path, url: str = "") -> tuple[int, list[dict[str, Any]], str]:
        options = ["--json", "--output", str(self.output), "--url", url or self.url, "--frames", "2"]
        status = cli.main(["detect", *options, *map(str, arguments)])
        shown = self._capsys.readouterr()
        return status, [json.loads(line) for line in shown.out.splitlines()], shown.err

    def kept(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output.read_text().splitlines()]


@pytest.fixture
def run(published_server: TritonServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(published_server, tmp_path / "out" / "kept.jsonl", capsys)


@pytest.mark.triton
def test_a_kept_verdict_counts_for_the_same_file_options_and_model(
    run: Run, two_people: Path, tmp_path: Path
) -> None:
    video = tmp_path / "v.mp4"
    video.write_bytes(two_people.read_bytes())
    _, (first,), _ = run(video)
    assert first["input"] == {"size_bytes": video.stat().st_size, "modified_ns": video.stat().st_mtime_ns}
    assert first["options"]["frames"] == 2 and run.kept() == [first]
    assert run(video) == (0, [first], ""), "the very same line, the time that it took included"

    def is_judged_again(*arguments: str) -> bool:
        before = run.kept()
        status, answers, _ = run(video, *arguments)
        assert status == 0 and run.kept() == answers and len(answers) == 1
        return answers != before

    assert is_judged_again("--frames", "3") and not is_judged_again("--frames", "3")
    assert is_judged_again("--min-face", "41") and is_judged_again() and not is_judged_again()
    os.utime(video, ns=(0, 10**18))
    assert is_judged_again() and not is_judged_again()
    video.write_bytes(video.read_bytes() + b"\0" * 8)
    os.utime(video, ns=(0, 10**18))
    assert is_judged_again() and not is_judged_again()
    (line,) = run.kept()
    for other in (
        {"model": {**line["model"], "sha256": "0" * 64}},
        {"operating_point": {**line["operating_point"], "fake_at_least": 0.9}},
        {"input": None},
    ):
        run.output.write_text(json.dumps({**line, **other}) + "\n")
        assert is_judged_again()
    older = {key: value for key, value in line.items() if key not in ("input", "options")}
    run.output.write_text(json.dumps(older) + "\n")
    assert is_judged_again(), "an older version did not say what it judged"


@pytest.mark.triton
def test_a_server_that_is_gone_costs_no_kept_verdict_and_a_video_that_is_gone_does(
    run: Run, two_people: Path, tmp_path: Path
) -> None:
    video = tmp_path / "v.mp4"
    video.write_bytes(two_people.read_bytes())
    _, kept, _ = run(video)
    status, (answer,), said = run(video, "--timeout", "10", url=f"127.0.0.1:{free_port()}")
    assert status == 1 and answer["error"]["type"] == "ServerUnreachable" and "no server answers" in said
    assert run.kept() == kept
    video.write_text("now something else")
    status, (answer,), _ = run(video)
    assert status == 1 and answer["error"]["type"] == "NotAVideo" and run.kept() == [answer]


@pytest.mark.triton
@pytest.mark.parametrize("fault", [InputError("a.png: cannot be written: it is full"), ValueError("is full")])
def test_what_was_not_drawn_is_drawn_by_the_next_run(
    *, run: Run, two_people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def failing(*_: object) -> None:
        raise fault

    overlay, plot = tmp_path / "new" / "{name}.mp4", tmp_path / "new" / "{name}.png"
    with monkeypatch.context() as patched:
        patched.setattr("deepfake_triton.client.rendering.drawings.plot_timeline", failing)
        status, (first,), said = run(two_people, "--plot", plot)
        assert status == 1 and first["verdict"] and first["error"] is None and "is full" in said
        assert first["drawn"] == [] and run.kept() == [first]
    status, (second,), _ = run(two_people, "--plot", plot, "--overlay", overlay)
    assert status == 0 and second["drawn"] == [str(tmp_path / f"new/two.{end}") for end in ("png", "mp4")]
    assert run.kept() == [second] and run(two_people, "--plot", plot)[1] == [second]
    (tmp_path / "new/two.png").unlink()
    status, (third, fourth), _ = run(two_people, two_people, "--plot", plot)
    assert third == fourth
    assert status == 0 and (tmp_path / "new/two.png").is_file() and run.kept() == [third]


@pytest.mark.triton
def test_overlays_in_the_videos_folder_are_no_videos_of_the_next_run(
    *, run: Run, two_people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "v.mp4").write_bytes(two_people.read_bytes())
    overlay = ("--overlay", folder / "ov-{name}.mp4")
    assert run(folder, *overlay)[0] == 0
    first = run.kept()
    assert (folder / "ov-v.mp4").is_file() and run(folder, *overlay)[1] == first == run.kept()
    assert "or another folder than the videos" in refusal(capsys, folder, *overlay)


@pytest.mark.triton
def test_text_shows_the_verdict_of_a_video_whose_drawing_failed(
    *,
    published_server: TritonServer,
    two_people: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(*_: object) -> None:
        raise InputError("a.png: cannot be written: it is full")

    monkeypatch.setattr("deepfake_triton.client.rendering.drawings.plot_timeline", failing)
    arguments = [str(two_people), "--plot", str(tmp_path / "a.png"), "--url", published_server.url]
    assert cli.main(["detect", *arguments]) == 1
    shown = capsys.readouterr()
    assert shown.out.startswith(f"{two_people}: ") and "it is full" in shown.err


@pytest.mark.triton
@pytest.mark.parametrize("fault", [MemoryError(), RecursionError("too deep"), KeyError("x"), OSError("disk")])
def test_a_fault_that_nobody_thought_of_ends_one_video(
    *, run: Run, two_people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    poisoned = tmp_path / "poisoned.mp4"
    poisoned.write_bytes(two_people.read_bytes())
    detect = DeepfakeClient.detect

    def faulty(self: DeepfakeClient, video: str, *arguments: Any) -> Any:
        if video == str(poisoned):
            raise fault
        return detect(self, video, *arguments)

    monkeypatch.setattr(DeepfakeClient, "detect", faulty)
    status, answers, said = run(two_people, poisoned, two_people, "--log", "json")
    assert status == 1 and [answer["error"] is None for answer in answers] == [True, False, True]
    assert answers[1]["error"]["type"] == type(fault).__name__
    assert str(poisoned) in answers[1]["error"]["message"]
    logged = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert any("Traceback" in str(record.get("traceback")) for record in logged)
    assert "Traceback" not in "".join(line for line in said.splitlines() if not line.startswith("{"))
