"""`deepfake-triton detect`: the documented JSON and exit status for every kind of file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Portrait
from pseudo_terminal import on_terminal
from support import backdrop, pasted, write_clip

from deepfake_triton.serving.server import TritonServer

pytestmark = pytest.mark.triton

COMMAND = str(Path(sys.executable).with_name("deepfake-triton"))
KEYS = {
    "video",
    "verdict",
    "fake_probability",
    "reason",
    "faces",
    "faces_left_out",
    "model",
    "operating_point",
    "frames_decoded",
    "duration_seconds",
    "latency_ms",
    "content_credentials",
    "error",
}


def detect(*arguments: str | Path) -> tuple[int, str, str]:
    done = subprocess.run(
        [COMMAND, "detect", *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def detect_json(server: TritonServer, *arguments: str | Path) -> tuple[int, list[dict[str, Any]], str]:
    status, out, err = detect(*arguments, "--json", "--url", server.url)
    answers = [json.loads(line) for line in out.splitlines()]
    for answer in answers:
        assert set(answer) == KEYS
        assert set(answer["model"]) == {"name", "version", "weights", "sha256"}
    return status, answers, err


@pytest.fixture(scope="module")
def talking(portrait: Portrait) -> list[np.ndarray]:
    scene = backdrop(360, 480)
    return [pasted(scene, portrait.patch, 100 + index, 60) for index in range(25)]


def test_clips_of_every_kind(
    *, published_server: TritonServer, tmp_path: Path, talking: list[np.ndarray], two_people: Path
) -> None:
    frag = write_clip(
        tmp_path / "frag.mp4",
        talking,
        codec_options={"g": "5"},
        container_options={"movflags": "frag_keyframe+empty_moov"},
    )
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(frag.read_bytes()[: frag.stat().st_size // 2])
    sideways = [np.rot90(image, -1).copy() for image in talking]
    clips = {
        "plain": write_clip(tmp_path / "plain.mp4", talking),
        "turned": write_clip(tmp_path / "turned.mp4", sideways, rotation=90),
        "deep": write_clip(tmp_path / "deep.mov", talking, pixel_format="yuv422p10le"),
        "vfr": write_clip(tmp_path / "vfr.mp4", talking[:8], pts_ms=[0, 40, 90, 500, 520, 900, 1500, 1540]),
        "one": write_clip(tmp_path / "one.mp4", talking[:1]),
        "cut": cut,
        "two": two_people,
        "faceless": write_clip(tmp_path / "faceless.mp4", [backdrop(240, 320)] * 5),
    }
    status, answers, err = detect_json(published_server, *clips.values())
    assert status == 0 and len(answers) == len(clips)
    found = dict(zip(clips, answers, strict=True))
    assert [answer["video"] for answer in answers] == [str(path) for path in clips.values()]
    for name, answer in found.items():
        assert answer["error"] is None and set(answer["latency_ms"]) == {"decode", "infer", "total"}
        if name != "faceless":
            assert answer["verdict"] in ("FAKE", "REAL")
            assert (answer["verdict"] == "FAKE") == (answer["fake_probability"] >= 0.5)
            assert len(answer["faces"]) == (2 if name == "two" else 1)
    assert {name: answer["frames_decoded"] for name, answer in found.items()} == {
        "plain": 20, "turned": 20, "deep": 20, "vfr": 8, "one": 1, "two": 20, "faceless": 5,
        "cut": found["cut"]["frames_decoded"],
    }  # fmt: skip
    assert 1 <= found["cut"]["frames_decoded"] < 20 and found["cut"]["reason"] == "truncated"
    assert "cut.mp4: truncated" in err
    assert found["vfr"]["faces"][0]["segments"][0]["end_seconds"] > 1.5
    assert found["turned"]["fake_probability"] == pytest.approx(found["plain"]["fake_probability"], abs=0.1)
    faceless = found["faceless"]
    assert (faceless["verdict"], faceless["reason"], faceless["fake_probability"], faceless["faces"]) == (
        "INCONCLUSIVE",
        "no_face",
        None,
        [],
    )


def test_every_path_that_fails_gets_its_line(
    published_server: TritonServer, tmp_path: Path, two_people: Path
) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a video\n" * 50)
    paths = {
        tmp_path / "missing.mp4": "VideoNotFound",
        tmp_path / "empty.mp4": "NotAVideo",
        two_people: None,
        tmp_path / "text.mp4": "NotAVideo",
        tmp_path / "folder": "VideoUnreadable",
    }
    (tmp_path / "folder").mkdir()
    status, answers, err = detect_json(published_server, *paths)
    assert status == 1
    assert [answer["video"] for answer in answers] == [str(path) for path in paths]
    for answer, error in zip(answers, paths.values(), strict=True):
        if error is None:
            assert answer["verdict"] in ("FAKE", "REAL") and answer["error"] is None
            continue
        assert answer["error"]["type"] == error and answer["video"] in answer["error"]["message"]
        assert (answer["verdict"], answer["fake_probability"], answer["latency_ms"]) == (None, None, None)
        assert answer["faces"] == []
    assert len(err.splitlines()) == 4 and all(
        line.startswith("deepfake-triton: ") for line in err.splitlines()
    )


def test_an_unreachable_server_is_a_line_for_each_path(two_people: Path) -> None:
    status, out, _ = detect(two_people, two_people, "--json", "--url", "127.0.0.1:1", "--timeout", "2")
    answers = [json.loads(line) for line in out.splitlines()]
    assert status == 1 and len(answers) == 2
    assert all(set(answer) == KEYS and answer["error"]["type"] == "ServerUnreachable" for answer in answers)
    status, out, err = detect(two_people, "--url", "127.0.0.1:1", "--timeout", "2")
    assert status == 1 and out == "" and "127.0.0.1:1: no server answers" in err


def test_text_for_people(published_server: TritonServer, two_people: Path) -> None:
    status, out, err = detect(
        two_people, "--url", published_server.url, "--frames", "5", "--sampling", "uniform"
    )
    lines = out.splitlines()
    assert status == 0 and err == ""
    assert lines[0].startswith(f"{two_people}: ") and ("FAKE" in lines[0] or "REAL" in lines[0])
    assert [line.split()[:2] for line in lines[1:3]] == [["face", "0"], ["face", "1"]]
    assert "seen in 5 of 5 frames" in lines[1]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["a.mp4", "--frames", "0"],
        ["a.mp4", "--frames", "65"],
        ["a.mp4", "--frames", "many"],
        ["a.mp4", "--sampling", "random"],
        ["a.mp4", "--timeout", "-1"],
        ["a.mp4", "--url", "nowhere"],
        ["a.mp4", "--url", "a:1,b"],
        ["a.mp4", "--ca", "no.pem"],
        ["a.mp4", "--min-frames", "0"],
        ["a.mp4", "--no-such-option"],
    ],
)
def test_wrong_options_are_status_2(arguments: list[str]) -> None:
    status, out, err = detect(*arguments)
    assert status == 2 and out == "" and "usage:" in err


def test_a_terminal_shows_progress_and_stdout_stays_clean(
    published_server: TritonServer, two_people: Path
) -> None:
    video = str(two_people)
    options = ["--json", "--url", published_server.url, "--frames", "5", "--windows", "3"]
    shown, out = on_terminal(["detect", video, video, *options], stdout_too=False)
    assert "two.mp4: infer" in shown and "of 2 videos" in shown and "of 3 windows" in shown
    assert [set(json.loads(line)) == KEYS for line in out.splitlines()] == [True, True]


def test_a_reader_that_goes_away_is_no_traceback(published_server: TritonServer, two_people: Path) -> None:
    process = subprocess.Popen(
        [COMMAND, "detect", *[str(two_people)] * 3, "--json", "--url", published_server.url],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline().startswith('{"video"')
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait(timeout=60) == 128 + 13
