"""The Triton of `web` that dies, or cannot start (again), and a user who asks for the end twice."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import httpx
import pytest
from serve_command import alive, descendants, triton_below, wait_until
from web_command import refused, running_web

from deepfake_triton import cli

pytestmark = pytest.mark.triton


def is_ready(page: str) -> bool:
    return httpx.get(f"{page}/readyz", timeout=30).status_code == 200


@pytest.fixture
def repository(small_repository: Path, tmp_path: Path) -> Path:
    """One of the test's own."""
    return Path(shutil.copytree(small_repository, tmp_path / "repository"))


def test_a_triton_that_was_killed_comes_back_and_the_gateway_answers_again(
    default_repository: Path, clip_path: Path
) -> None:
    with running_web(default_repository) as gateway:
        before = triton_below(gateway.process.pid)
        os.kill(before, signal.SIGKILL)
        answer = httpx.post(f"{gateway.page}/v1/detect", content=clip_path.read_bytes(), timeout=60)
        assert answer.status_code == 200 and answer.json()["verdict"] in {"FAKE", "REAL", "INCONCLUSIVE"}
        assert triton_below(gateway.process.pid) != before
        assert wait_until(lambda: is_ready(gateway.page), 10)
        gateway.process.send_signal(signal.SIGTERM)
        _, errors = gateway.process.communicate(timeout=60)
    assert gateway.process.returncode == 0
    assert errors.splitlines() == [
        f"deepfake-triton: starting Triton with {default_repository}",
        "deepfake-triton: tritonserver was ended by SIGKILL: starting it again",
    ]


def test_one_that_cannot_start_again_ends_the_gateway(repository: Path) -> None:
    with running_web(repository) as gateway:
        with (repository / "face_tracker/config.pbtxt").open("a") as file:
            file.write("# changed\n")
        os.kill(triton_below(gateway.process.pid), signal.SIGKILL)
        said, errors = gateway.process.communicate(timeout=60)
    assert (gateway.process.returncode, said) == (1, "")
    assert "and is not started again" in errors.splitlines()[-1] and "Traceback" not in errors


def test_one_that_cannot_start_ends_the_command_with_its_reason(repository: Path) -> None:
    """The repository is as recorded; it is the model that does not load."""
    (repository / "face_tracker/1/model.py").write_text("raise RuntimeError('a broken step')\n")
    assert cli.main(["repository", "accept", str(repository)]) == 0
    *_, reason = refused(repository)  # before it, Triton's own words
    assert "deepfake-triton: tritonserver ended while starting" in reason and "a broken step" in reason


def test_who_asks_for_the_end_again_and_again_gets_it_and_nothing_is_left(
    repository: Path, tmp_path: Path
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with running_web(repository, environment={**os.environ, "TMPDIR": str(temporary)}) as gateway:
        processes = descendants(gateway.process.pid)
        assert len(list(temporary.iterdir())) == 1
        deadline = time.monotonic() + 60
        while gateway.process.poll() is None and time.monotonic() < deadline:
            gateway.process.send_signal(signal.SIGINT)
            time.sleep(0.1)
        said, errors = gateway.process.communicate(timeout=1)
    assert (gateway.process.returncode, said) == (0, "stopped\n")
    assert errors == f"deepfake-triton: starting Triton with {repository}\n"
    assert list(temporary.iterdir()) == [] and wait_until(lambda: not alive(processes), 5)
