"""The script that runs failed tests once more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

pytestmark = pytest.mark.fast

_PYTEST = (sys.executable, "-m", "pytest", "-p", "xdist.plugin")
BAD_ONCE = """
from pathlib import Path
def test_bad_once():
    seen = Path("seen")
    before = seen.exists()
    seen.touch()
    assert before
def test_good():
    with Path("good_runs").open("a") as log:
        log.write("run\\n")
"""


def run_twice(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a folder's tests, as `make test` does, outside of this suite's configuration."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # seconds of imports
    (folder / "pytest.ini").write_text("[pytest]\n")
    return subprocess.run(
        [ROOT / "tests" / "run_twice.sh", *_PYTEST, *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_a_test_that_fails_once_is_run_again_alone(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(BAD_ONCE)
    ended = run_twice(tmp_path, "--numprocesses", "2", "--dist", "loadfile")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "1 failed, 1 passed" in ended.stdout and "once more" in ended.stdout
    assert (tmp_path / "good_runs").read_text() == "run\n"


def test_a_test_that_fails_twice_fails(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_bad():\n    assert False\n")
    ended = run_twice(tmp_path)
    assert ended.returncode == 1 and ended.stdout.count("1 failed") == 2


def test_a_fault_of_collection_fails_at_once(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("import no_such_module\n")
    ended = run_twice(tmp_path)
    assert ended.returncode == 2 and "once more" not in ended.stdout


def test_a_tier_without_a_test_passes(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_it():\n    pass\n")
    assert run_twice(tmp_path, "-k", "other").returncode == 0


def test_a_run_that_stops_at_the_first_failure_is_the_only_one(tmp_path: Path) -> None:
    """The others were not run at all."""
    (tmp_path / "test_it.py").write_text(BAD_ONCE)
    ended = run_twice(tmp_path, "-x")
    assert ended.returncode == 1 and "once more" not in ended.stdout
