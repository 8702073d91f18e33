"""Whole videos on the command line: windows, persons, many files, plots, overlays and resuming."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import Portrait
from support import backdrop, pasted, write_clip

from deepfake_triton.arrays import Image
from deepfake_triton.client import AsyncDeepfakeClient, DeepfakeClient, FrameSelection
from deepfake_triton.preprocessing.video.timed_frames import read_frames
from deepfake_triton.serving.server import TritonServer

pytestmark = pytest.mark.triton

COMMAND = str(Path(sys.executable).with_name("deepfake-triton"))


NETWORK_MIB = 64
"""What OpenCV holds of the face embedding: 22 MB of weights, several times."""


def detect(server: TritonServer, *arguments: str | Path) -> tuple[int, list[dict[str, Any]], str]:
    done = subprocess.run(
        [COMMAND, "detect", "--json", "--url", server.url, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.fixture(scope="module")
def heads(portrait: Portrait) -> tuple[Image, Image]:
    """A head, and one whose left half mirrors its right one: for the linking two people."""
    half = portrait.patch[:, portrait.patch.shape[1] // 2 :]
    return portrait.patch, np.concatenate([half[:, ::-1], half], axis=1)


@pytest.fixture(scope="module")
def comings_and_goings(heads: tuple[Image, Image], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first person at 0–8 s and 14–20 s, the second from 5 s on; at 14 s they have changed places."""
    scene = backdrop(360, 640)
    images = []
    for index in range(500):
        seconds, image, shift = index / 25, scene, int(6 * np.sin(index / 9))
        if seconds < 8 or seconds >= 14:
            image = pasted(image, heads[0], (60 if seconds < 14 else 380) + shift, 90)
        if seconds >= 5:
            image = pasted(image, heads[1], (380 if seconds < 14 else 60) - shift, 90)
        images.append(image)
    path = tmp_path_factory.mktemp("whole") / "comings.mp4"
    return write_clip(path, images, codec_options={"crf": "16", "g": "50"})


def test_every_person_has_a_timeline(
    client: DeepfakeClient, comings_and_goings: Path, published_server: TritonServer
) -> None:
    verdict = client.detect(comings_and_goings, FrameSelection(5, every_seconds=2))
    assert verdict.frames_decoded == 50 and verdict.duration_seconds == pytest.approx(20, abs=0.1)
    starts = [[round(s.start_seconds) for s in face.segments] for face in verdict.faces]
    assert starts == [[0, 2, 4, 6, 14, 16, 18], [6, 8, 10, 12, 14, 16, 18]]
    for face in verdict.faces:
        assert face.frames_observed == 5 * len(face.segments)
        assert all(s.end_seconds - s.start_seconds == pytest.approx(0.2, abs=0.01) for s in face.segments)
        mean = np.mean([segment.fake_probability for segment in face.segments])
        assert face.fake_probability == pytest.approx(float(mean), abs=1e-6)
    assert verdict.fake_probability == max(face.fake_probability for face in verdict.faces)
    status, (line,), _ = detect(published_server, comings_and_goings, "--frames", "5", "--every", "2")
    assert status == 0
    assert [len(face["segments"]) for face in line["faces"]] == [7, 7]
    assert {face["verdict"] for face in line["faces"]} <= {"FAKE", "REAL"}


def test_a_window_is_judged_as_its_frames_are(client: DeepfakeClient, comings_and_goings: Path) -> None:
    verdict = client.detect(comings_and_goings, FrameSelection(20, windows=3))
    alone = client.detect(comings_and_goings, FrameSelection(20))
    assert verdict.faces[0].segments[0].fake_probability == alone.faces[0].fake_probability


@pytest.mark.parametrize("selection", [FrameSelection(5, windows=4), FrameSelection(20)])
def test_both_clients_say_the_same(
    *,
    client: DeepfakeClient,
    published_server: TritonServer,
    comings_and_goings: Path,
    selection: FrameSelection,
) -> None:
    import asyncio

    async def ask() -> Any:
        async with AsyncDeepfakeClient(published_server.url) as asking:
            return await asking.detect(comings_and_goings, selection)

    assert asyncio.run(ask()).faces == client.detect(comings_and_goings, selection).faces


def test_plot_and_overlay(
    *, published_server: TritonServer, comings_and_goings: Path, tmp_path: Path, two_people: Path
) -> None:
    options = ["--frames", "5", "--every", "4", "--overlay", str(tmp_path / "{name}-{number}.mp4")]
    status, answers, err = detect(
        published_server, comings_and_goings, two_people, *options, "--plot", tmp_path / "{name}.png"
    )
    assert status == 0 and err == ""
    plots = [cv2.imread(str(tmp_path / f"{name}.png")) for name in ("comings", "two")]
    assert all(plot is not None and plot.shape[1] > 500 and plot.std() > 10 for plot in plots)
    originals = list(read_frames(comings_and_goings))
    drawn = list(read_frames(tmp_path / "comings-1.mp4"))
    assert len(drawn) == len(originals)
    assert [f.pts_seconds for f in drawn] == pytest.approx([f.pts_seconds for f in originals], abs=0.002)
    assert len(answers) == 2
    left, top, right, _ = _first_box(published_server, comings_and_goings)
    middle = (left + right) // 2
    changed = [int(np.abs(d.pixels[top, middle].astype(int) - o.pixels[top, middle]).max()) > 40
               for d, o in zip(drawn[:8], originals[:8], strict=True)]  # fmt: skip
    assert changed == [True] * 5 + [False] * 3, "boxes stand in the frames that were judged"
    status, _, _ = detect(published_server, two_people, "--plot", tmp_path / "missing" / "a.svg")
    assert status == 0 and (tmp_path / "missing" / "a.svg").is_file(), "folders are made"


def _first_box(server: TritonServer, path: Path) -> tuple[int, int, int, int]:
    with DeepfakeClient(server.url) as asking:
        x1, y1, x2, y2 = asking.detect(path, FrameSelection(5)).faces[0].box
    return round(x1), round(y1), round(x2), round(y2)


@pytest.mark.parametrize(
    "options",
    [
        ["--windows", "0"],
        ["--windows", "2", "--every", "3"],
        ["--every", "0"],
        ["--windows", "3", "--sampling", "uniform"],
        ["--plot", "a.pdf"],
        ["--overlay", "a.avi"],
        ["--jobs", "0"],
        ["b.mp4", "--plot", "a.png"],
        ["--key", __file__],
    ],
)
def test_wrong_options(published_server: TritonServer, options: list[str]) -> None:
    status, answers, err = detect(published_server, "a.mp4", *options)
    assert status == 2 and answers == [] and err


def test_many_files_at_once_answer_in_order(
    *, published_server: TritonServer, two_people: Path, comings_and_goings: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    for index in range(6):
        (folder / f"{index}.mp4").symlink_to(two_people)
    (folder / "3.mp4").unlink()
    (folder / "3.mp4").write_text("no video")
    (tmp_path / "list.jsonl").write_text(json.dumps({"path": str(comings_and_goings)}) + "\n")
    status, answers, _ = detect(
        published_server,
        folder,
        tmp_path / "list.jsonl",
        tmp_path / "none*.mp4",
        "--jobs",
        "4",
        "--frames",
        "5",
    )
    assert status == 1
    expected = [*(str(folder / f"{index}.mp4") for index in range(6)), str(comings_and_goings)]
    assert [answer["video"] for answer in answers] == [*expected, str(tmp_path / "none*.mp4")]
    failed = [index for index, answer in enumerate(answers) if answer["error"]]
    assert failed == [3, 7]
    assert len({answers[index]["fake_probability"] for index in (0, 1, 2, 4, 5)}) == 1


def test_an_interrupted_run_goes_on(
    published_server: TritonServer, comings_and_goings: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    for index in range(7):
        (folder / f"{index:02}.mp4").symlink_to(comings_and_goings)
    results = tmp_path / "results.jsonl"
    arguments = [str(folder), "--output", str(results), "--jobs", "2", "--windows", "4", "--frames", "10"]
    running = subprocess.Popen(
        [COMMAND, "detect", "--url", published_server.url, *arguments],
        stdout=subprocess.DEVNULL,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - one call
    )
    deadline = time.monotonic() + 90
    while not (results.exists() and len(results.read_text().splitlines()) >= 2):
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    asked = time.monotonic()
    assert running.wait(30) == 130
    assert time.monotonic() - asked < 15
    before = results.read_text().splitlines()
    assert 2 <= len(before) < 7
    status, answers, _ = detect(published_server, *arguments)
    assert status == 0 and len(answers) == 7
    after = results.read_text().splitlines()
    assert after[: len(before)] == before
    assert sorted(json.loads(line)["video"] for line in after) == sorted(map(str, folder.iterdir()))
    assert {json.dumps(answer) for answer in answers} == set(after)


@pytest.fixture(scope="module")
def half_an_hour(heads: tuple[Image, Image], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,800 seconds at 5 frames a second, 1280×720."""
    import av

    path = tmp_path_factory.mktemp("long") / "long.mp4"
    scene = backdrop(720, 1280)
    images = [pasted(scene, heads[0], 100 + 4 * index, 120) for index in range(10)]
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=5, options={"preset": "ultrafast", "g": "50"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        rgb = [av.VideoFrame.from_ndarray(image, format="rgb24") for image in images]
        frames = [frame.reformat(format="yuv420p") for frame in rgb]
        for index in range(9000):
            frame = frames[index % 10]
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_half_an_hour_costs_little_memory_and_no_more_time_than_its_windows(
    published_server: TritonServer, half_an_hour: Path, comings_and_goings: Path
) -> None:
    measure = (
        "import re, sys, time\n"
        "from pathlib import Path\n"
        "from deepfake_triton.client import DeepfakeClient, FrameSelection\n"
        "with DeepfakeClient(sys.argv[1]) as client:\n"
        "    client.detect(sys.argv[3], FrameSelection(20))\n"
        "    verdict = client.detect(sys.argv[2], FrameSelection(20, windows=6))\n"
        "peak_kib = int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\n"
        "print(verdict.frames_decoded, len(verdict.faces), verdict.faces[0].segments[-1].end_seconds,\n"
        "      verdict.latency_ms.decode / 1000, peak_kib / 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", measure, published_server.url, str(half_an_hour), str(comings_and_goings)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    frames, faces, end, decode_s, memory_mib = map(float, done.stdout.split())
    assert (frames, faces) == (120, 1) and end == pytest.approx(1800, abs=1)
    assert decode_s < 30, "it leaps, or it would decode 9,000 frames"
    assert memory_mib < 400 + NETWORK_MIB
