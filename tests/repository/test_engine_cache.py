"""The cache of engines: what is found again, what is not trusted, and many builders at once."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from read_only_mount import read_only

from deepfake_triton.errors import EngineError
from deepfake_triton.repository import engine_cache
from deepfake_triton.repository.engine_cache import CachedEngine, EngineCache, ModelEngine, why_unfit
from deepfake_triton.repository.engine_record import (
    EngineBuilder,
    EngineKey,
    EngineRecord,
    EngineTensor,
    ShapeProfile,
)

pytestmark = pytest.mark.fast

KEY = EngineKey(
    onnx_sha256="ab" * 32,
    precision="fp16",
    profiles={"x": ShapeProfile((1, 4), (2, 4), (8, 4))},
    compute_capability="8.9",
    gpu="NVIDIA L4",
    builder=EngineBuilder("tensorrt", "10.14.1"),
)
DAY_S = 86400
IMPORTS = """
import sys, time
from dataclasses import replace
from pathlib import Path
from deepfake_triton.errors import EngineError
from deepfake_triton.repository.engine_cache import EngineCache
from deepfake_triton.repository.engine_record import EngineBuilder, EngineKey, ShapeProfile
"""
BUILD_FOR_EVER = f"""{IMPORTS}
def build(output):
    output.write_bytes(b"half")
    print("building", flush=True)
    time.sleep(600)
EngineCache(Path(sys.argv[1])).get_or_build({KEY!r}, build)
"""
FIND_ONE_OF_TWO = f"""{IMPORTS}
cache, key = EngineCache(Path(sys.argv[1])), {KEY!r}
print(cache.get_or_build(key, None).sha256)
try:
    cache.get_or_build(replace(key, gpu=None), None)
except EngineError as error:
    print(error)
"""


class Writer:
    """Writes engines of random bytes, with a record that tells the truth about them, and counts them."""

    def __init__(self, key: EngineKey = KEY, seconds: float = 0) -> None:
        self.key, self.seconds, self.count = key, seconds, 0

    def __call__(self, output: Path) -> EngineRecord:
        self.count += 1
        time.sleep(self.seconds)
        content = os.urandom(4096)
        output.write_bytes(content)
        return EngineRecord(
            inputs=(EngineTensor("x", "float32", (-1, 4)),),
            outputs=(EngineTensor("y", "float32", (-1, 4)),),
            profiles=self.key.profiles,
            precision=self.key.precision,
            compute_capability=self.key.compute_capability,
            builder=self.key.builder,
            onnx_sha256=self.key.onnx_sha256,
            sha256=hashlib.sha256(content).hexdigest(),
        )


def digest(engine: CachedEngine) -> str:
    return hashlib.sha256(engine.path.read_bytes()).hexdigest()


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


def test_an_engine_is_built_once(tmp_path: Path) -> None:
    cache, build = EngineCache(tmp_path / "deep" / "cache"), Writer()
    assert cache.find(KEY) is None
    first = cache.get_or_build(KEY, build)
    again = EngineCache(cache.folder).get_or_build(KEY, build)
    assert build.count == 1 and first.is_new and not again.is_new
    assert again == replace(first, is_new=False) and digest(again) == again.sha256
    assert files(cache.folder) == {f"{KEY.digest}.json", f"{KEY.digest}-{first.sha256}.plan"}
    known = json.loads((cache.folder / f"{KEY.digest}.json").read_text())
    assert known["key"]["gpu"] == "NVIDIA L4" and known["key"]["onnx_sha256"] == KEY.onnx_sha256
    assert known["engine"]["builder"] == {"name": "tensorrt", "version": "10.14.1"}
    assert known["engine"]["sha256"] == first.sha256


@pytest.mark.parametrize(
    "other",
    [
        replace(KEY, onnx_sha256="cd" * 32),
        replace(KEY, precision="fp32"),
        replace(KEY, profiles={"x": ShapeProfile((1, 4), (2, 4), (9, 4))}),
        replace(KEY, compute_capability="8.6"),
        replace(KEY, gpu="NVIDIA L40"),
        replace(KEY, gpu=None),
        replace(KEY, builder=EngineBuilder("tensorrt", "10.14.2")),
    ],
    ids=["graph", "precision", "profiles", "capability", "gpu", "any-gpu", "version"],
)
def test_whatever_differs_makes_another_engine(other: EngineKey, tmp_path: Path) -> None:
    cache, build = EngineCache(tmp_path), Writer(other)
    first = cache.get_or_build(KEY, Writer())
    second = cache.get_or_build(other, build)
    assert build.count == 1 and second.sha256 != first.sha256
    assert cache.find(KEY) == replace(first, is_new=False)
    # One engine's files under the other's name, as a mix-up of folders would leave them.
    (tmp_path / f"{other.digest}.json").write_bytes((tmp_path / f"{KEY.digest}.json").read_bytes())
    shutil.copyfile(first.path, tmp_path / f"{other.digest}-{first.sha256}.plan")
    assert cache.find(other) is None


def change(path: Path, make: Callable[[bytes], bytes]) -> None:
    path.write_bytes(make(path.read_bytes()))


def as_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def as_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def as_foreign(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to another user")
    os.chown(path, 65534, 65534)


DAMAGE: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "cut-engine": (
        "plan",
        lambda path: change(path, lambda bytes_: bytes_[:-1]),
        "changed since it was built",
    ),
    "flipped-bit": ("plan", lambda path: change(path, lambda b: bytes([b[0] ^ 1]) + b[1:]), "changed since"),
    "no-engine": ("plan", Path.unlink, "No such file"),
    "linked-engine": ("plan", as_link, "symbolic links"),
    "engine-is-a-pipe": ("plan", as_pipe, "is no regular file"),
    "another-user-s-engine": ("plan", as_foreign, "belongs to user 65534"),
    "engine-for-all-to-write": ("plan", lambda path: path.chmod(0o666), "mode 666"),
    "empty-record": ("json", lambda path: path.write_text(""), "Expecting value"),
    "half-a-record": ("json", lambda path: change(path, lambda b: b[: len(b) // 2]), "delimiter"),
    "no-record": ("json", lambda path: path.write_text("[]"), "no record of an engine"),
    "record-without-an-engine": (
        "json",
        lambda path: path.write_text(json.dumps({"format": 1, "key": KEY.to_json()})),
        "no record of an engine: KeyError('engine')",
    ),
    "deep-record": ("json", lambda path: path.write_text("[" * 100_000), "no record of an engine"),
    "huge-record": ("json", lambda path: path.write_bytes(b" " * 2**20 + b"{}"), "more than 1048576 bytes"),
    "later-format": (
        "json",
        lambda path: change(path, lambda b: b.replace(b'"format": 1', b'"format": 2')),
        "format 2, expected 1",
    ),
    "path-as-hash": (
        "json",
        lambda path: change(path, lambda b: b.replace(b'"sha256": "', b'"sha256": "../../x')),
        "sha256: got '../../x",
    ),
    "other-version": (
        "json",
        lambda path: change(path, lambda b: b.replace(b"10.14.1", b"10.14.9")),
        "of another graph, GPU or TensorRT",
    ),
    "another-user-s-record": ("json", as_foreign, "belongs to user 65534"),
    "linked-record": ("json", as_link, "symbolic links"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_what_cannot_be_trusted_is_built_again(
    case: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    suffix, damage, reason = DAMAGE[case]
    cache, build = EngineCache(tmp_path), Writer()
    engine = cache.get_or_build(KEY, build)
    damage(engine.path if suffix == "plan" else tmp_path / f"{KEY.digest}.json")
    with caplog.at_level(logging.WARNING):
        again = cache.get_or_build(KEY, build)
    assert build.count == 2 and again.is_new and digest(again) == again.sha256 != engine.sha256
    assert reason in caplog.text and "has to be built again" in caplog.text
    assert cache.find(KEY) == replace(again, is_new=False)


def test_an_engine_of_something_else_is_not_taken_up(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    with pytest.raises(EngineError, match="not what was asked for"):
        cache.get_or_build(KEY, Writer(replace(KEY, compute_capability="9.0")))

    def build(output: Path) -> EngineRecord:
        record = Writer()(output)
        output.write_bytes(b"what a full disk left")
        return record

    with pytest.raises(EngineError, match="not what was asked for"):
        cache.get_or_build(KEY, build)
    assert files(tmp_path) == set()


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
    monkeypatch.setattr(engine_cache, "LOCK_TIMEOUT_S", 0.1)
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


def test_engines_that_nobody_takes_are_removed_after_a_month(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    used, unused, new = (replace(KEY, gpu=name) for name in ("used", "unused", "new"))
    for key in (used, unused):
        cache.get_or_build(key, Writer())
    (tmp_path / "notes.txt").write_text("somebody's own")
    replaced = tmp_path / f"{new.digest}-{'0' * 64}.plan"
    replaced.write_text("an engine before")
    long_ago_s = time.time() - 31 * DAY_S
    for path in tmp_path.iterdir():
        os.utime(path, (long_ago_s, long_ago_s))
    os.utime(replaced, (time.time() - 2 * DAY_S,) * 2)
    assert cache.find(used)
    cache.get_or_build(new, Writer())
    assert cache.find(used) and cache.find(new) and not cache.find(unused)
    assert not [name for name in files(tmp_path) if name.startswith(unused.digest)]
    assert not replaced.exists() and (tmp_path / "notes.txt").exists()


def test_a_cache_that_is_only_read_gives_what_it_has(tmp_path: Path) -> None:
    engine = EngineCache(tmp_path).get_or_build(KEY, Writer())
    command = [*read_only(tmp_path), sys.executable, "-c", FIND_ONE_OF_TWO, str(tmp_path)]
    found, refused = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert found == engine.sha256
    assert refused.startswith(f"{tmp_path}: cannot take up engines: ") and "may write to" in refused


def test_a_folder_that_cannot_be_a_cache_is_named(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    (repository / "model").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(repository / "model")
    for cache, reason in (
        (Path("engines"), "expected an absolute path"),
        (tmp_path / "file", "is a file"),
        (repository, "is not apart from the repository"),
        (repository / "model" / "engines", "is not apart from"),
        (tmp_path / "link" / "engines", "is not apart from"),
        (tmp_path, "is not apart from"),
    ):
        assert reason in (why_unfit(cache, repository) or "")
    assert why_unfit(tmp_path / "new" / "engines", repository) is None
    assert why_unfit(tmp_path / "repository-engines", repository) is None


def test_a_parent_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineError, match="cannot take up engines: Not a directory"):
        EngineCache(tmp_path / "file" / "cache").get_or_build(KEY, Writer())


def test_an_engine_of_a_model_comes_back_from_json() -> None:
    engine = ModelEngine("feature_extractor", 3, "model.plan", Path("/engines/a.plan"), "ab" * 32)
    assert ModelEngine.from_json(json.loads(json.dumps(engine.to_json()))) == engine
