"""A client from a wheel on the newest Python, numpy, OpenCV and PyAV here: the same answers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support import write_clip

from deepfake_triton.preprocessing.video.frame_batch import FrameBatch
from deepfake_triton.serving.server import TritonServer

pytestmark = pytest.mark.slow


def newest_python() -> tuple[tuple[int, int], Path]:
    """The version and path of the newest Python that runs here, at least this one."""
    found = {sys.version_info[:2]: Path(sys.executable)}
    named = [shutil.which(f"python3.{minor}") for minor in range(10, 21)]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for path in [*filter(None, named), *map(str, pyenv.glob("3.*/bin/python"))]:
        code = "import sys, venv, ensurepip; print(*sys.version_info[:2])"
        done = subprocess.run([path, "-c", code], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            major, minor = map(int, done.stdout.split())
            found.setdefault((major, minor), Path(path))
    return max(found.items())


@pytest.fixture(scope="module")
def newest(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment of the newest Python with the client from a wheel, and nothing else."""
    version, python = newest_python()
    if version < (3, 12):
        pytest.skip(f"the newest Python here is {version[0]}.{version[1]}: install 3.12 or newer beside it")
    folder = tmp_path_factory.mktemp("newest") / "venv"
    subprocess.run([python, "-m", "venv", folder], check=True, capture_output=True)
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", f"{wheel}[client]"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "bin"


def answer(command: Path, server: TritonServer, videos: list[Path], cwd: Path) -> list[dict[str, Any]]:
    done = subprocess.run(
        [command, "detect", "--json", "--url", server.url, "--windows", "2", "--timeout", "120", *videos],
        capture_output=True, text=True, check=False, cwd=cwd,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_newest_packages_give_the_same_answers(
    newest: Path, published_server: TritonServer, clip_path: Path, clip_frames: FrameBatch, tmp_path: Path
) -> None:
    """The second clip is larger than what is sent, so that OpenCV has to scale it."""
    large = [np.asarray(cv2.resize(frame, (1280, 1280)), np.uint8) for frame in clip_frames.data[:10]]
    videos = [clip_path, write_clip(tmp_path / "large.mp4", large)]
    here = answer(Path(sys.executable).with_name("deepfake-triton"), published_server, videos, tmp_path)
    there = answer(newest / "deepfake-triton", published_server, videos, tmp_path)
    assert len(here) == len(there) == 2
    for ours, theirs in zip(here, there, strict=True):
        assert ours["faces"] and theirs["verdict"] == ours["verdict"]
        assert theirs["fake_probability"] == pytest.approx(ours["fake_probability"], abs=2e-3)
        assert theirs["frames_decoded"] == ours["frames_decoded"]
        assert [face["frames_observed"] for face in theirs["faces"]] == [
            face["frames_observed"] for face in ours["faces"]
        ]


def test_the_client_costs_no_torch_and_says_what_the_rest_takes(
    newest: Path, published_repository: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [newest / "pip", "list", "--format", "json"], capture_output=True, text=True, check=True
    )
    installed = {entry["name"]: entry["version"] for entry in json.loads(done.stdout)}
    assert not {"torch", "onnx", "onnxruntime", "scipy", "matplotlib"} & installed.keys()
    assert int(installed["numpy"].split(".")[0]) >= 2
    for command, said in (
        (["export", "--output", "r"], r"onnx is not installed: pip install 'deepfake-triton\[export,cpu\]'"),
        (
            ["serve", str(published_repository)],
            r"Triton is not installed: pip install .*Python 3\.10 to 3\.12",
        ),
        (["demo"], r"is not installed: pip install 'deepfake-triton\[demo,cpu\]'"),
    ):
        done = subprocess.run(
            [newest / "deepfake-triton", *command], capture_output=True, text=True, check=False, cwd=tmp_path
        )
        assert done.returncode == 1 and re.search(said, done.stderr.splitlines()[-1]), done.stderr
