"""The cache of engines with many builders at once."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from engine_writer import CACHE_IMPORTS, DAY_S, KEY, Writer, digest

from deepfake_triton.repository import engine_cache
from deepfake_triton.repository.engine_cache import CachedEngine, EngineCache

pytestmark = pytest.mark.fast

BUILD_FOR_EVER = f"""{CACHE_IMPORTS}
def build(output):
    output.write_bytes(b"half")
    print("building", flush=True)
    time.sleep(600)
EngineCache(Path(sys.argv[1])).get_or_build({KEY!r}, build)
"""


def test_of_many_at_once_one_builds(tmp_path: Path) -> None:
    build, barrier = Writer(seconds=0.3), threading.Barrier(8)

    def start(_: int) -> CachedEngine:
        barrier.wait(60)
        return EngineCache(tmp_path).get_or_build(KEY, build)

    with ThreadPoolExecutor(8) as pool:
        engines = list(pool.map(start, range(8)))
    assert build.count == 1 and len({engine.sha256 for engine in engines}) == 1
    assert sum(engine.is_new for engine in engines) == 1


def test_without_locks_the_last_one_wins_and_each_has_a_whole_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, f"no locks here: {descriptor}, {operation}")

    monkeypatch.setattr(fcntl, "flock", refuse)
    build, barrier = Writer(seconds=0.1), threading.Barrier(8)

    def start(_: int) -> CachedEngine:
        barrier.wait(60)
        return EngineCache(tmp_path).get_or_build(KEY, build)

    with ThreadPoolExecutor(8) as pool:
        engines = list(pool.map(start, range(8)))
    assert build.count == 8 and all(digest(engine) == engine.sha256 for engine in engines)
    last = EngineCache(tmp_path).find(KEY)
    assert last is not None and last.sha256 in {engine.sha256 for engine in engines}


def test_one_that_waits_too_long_builds_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engine_cache, "LOCK_TIMEOUT_S", 1.0)
    with (tmp_path / f".{KEY.digest}.lock").open("w") as other, caplog.at_level(logging.WARNING):
        fcntl.flock(other, fcntl.LOCK_EX)
        build = Writer()
        EngineCache(tmp_path).get_or_build(KEY, build)
    assert build.count == 1
    assert "another server builds the same engine: waiting" in caplog.text and "building, too" in caplog.text


def test_a_killed_builder_leaves_nothing_that_is_used(tmp_path: Path) -> None:
    """A process of its own, killed with half an engine written and the lock held."""
    command = [sys.executable, "-c", BUILD_FOR_EVER, str(tmp_path / "cache")]
    builder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert builder.stdout is not None and builder.stdout.readline() == "building\n"
        builder.send_signal(signal.SIGKILL)
    finally:
        builder.kill()
        builder.communicate(timeout=60)
    cache, build = EngineCache(tmp_path / "cache"), Writer()
    (partial,) = cache.folder.glob(".partial-*")
    assert cache.find(KEY) is None
    engine = cache.get_or_build(KEY, build)
    assert build.count == 1 and digest(engine) == engine.sha256
    assert partial.exists(), "it might be another server's"
    os.utime(partial, (time.time() - 2 * DAY_S,) * 2)
    cache.get_or_build(replace(KEY, gpu=None), Writer())
    assert not partial.exists()
