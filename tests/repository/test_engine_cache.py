"""The cache of engines: what is found again, what is not trusted, and many builders at once."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from engine_writer import CACHE_IMPORTS, DAY_S, KEY, Writer, digest, files
from read_only_mount import read_only

from deepfake_triton.errors import EngineError
from deepfake_triton.repository.engine_cache import EngineCache, ModelEngine, why_unfit
from deepfake_triton.repository.engine_record import (
    EngineBuilder,
    EngineKey,
    EngineRecord,
    ShapeProfile,
)

pytestmark = pytest.mark.fast


FIND_ONE_OF_TWO = f"""{CACHE_IMPORTS}
cache, key = EngineCache(Path(sys.argv[1])), {KEY!r}
print(cache.get_or_build(key, None).sha256)
try:
    cache.get_or_build(replace(key, gpu=None), None)
except EngineError as error:
    print(error)
"""


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
