"""Engines that a read-only repository lacks, really compiled by TensorRT-RTX into a cache beside it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from read_only_mount import read_only

from deepfake_triton import cli
from deepfake_triton.errors import EngineError, ServerFailed
from deepfake_triton.export.repository.configs import config_from_text, config_text
from deepfake_triton.export.tensorrt.cached_engines import engine_key, lacking_models
from deepfake_triton.models.runtimes.tensorrt_library import load_tensorrt
from deepfake_triton.repository.check import check_repository
from deepfake_triton.repository.engine_cache import ModelEngine
from deepfake_triton.repository.engine_record import EngineKey, EngineRecord
from deepfake_triton.serving.process.runtime_folder import RuntimeFolder

pytestmark = pytest.mark.compute

GRAPHS = ["face_detector", "feature_extractor", "sequence_classifier"]
FOR_ADA = ["--compute-capability", "8.9", "--builder", "tensorrt-rtx"]


@pytest.fixture(scope="module")
def repository(tensorrt_repository: Path) -> Path:
    return tensorrt_repository


@pytest.fixture(scope="module")
def filled(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A cache that was filled with the repository mounted read-only, and what was said."""
    cache = tmp_path_factory.mktemp("cached") / "engines"
    command = [sys.executable, "-m", "deepfake_triton", "engine", "cache", str(repository), str(cache)]
    done = subprocess.run(
        [*read_only(repository), *command, *FOR_ADA, "--json"], capture_output=True, text=True, check=True
    )
    assert (
        done.stderr.count("\n") == 3 and "building face_detector 1 for compute capability 8.9" in done.stderr
    )
    return cache, done.stdout


def engines_of(text: str) -> list[ModelEngine]:
    return [ModelEngine.from_json(values) for values in json.loads(text)]


def record_of(engine: ModelEngine) -> tuple[object, EngineRecord]:
    """The key and the engine of a record."""
    values = json.loads((engine.path.parent / f"{engine.path.name[:32]}.json").read_text())
    return values["key"], EngineRecord.from_json(values["engine"])


def snapshot(folder: Path) -> dict[Path, tuple[int, int]]:
    found = {path: path.lstat() for path in (folder, *folder.rglob("*"))}
    return {path: (stat.st_mtime_ns, stat.st_size) for path, stat in found.items()}


def key_of(repository: Path, name: str) -> EngineKey:
    graph = repository / name / "1" / "model.onnx"
    return engine_key(graph, load_tensorrt("tensorrt-rtx"), "8.9", gpu=None)


def test_records_say_what_the_engines_were_built_from(repository: Path, filled: tuple[Path, str]) -> None:
    cache, said = filled
    engines = engines_of(said)
    assert [engine.model for engine in engines] == GRAPHS
    for engine in engines:
        key, record = record_of(engine)
        expected = key_of(repository, engine.model)
        assert key == expected.to_json() and expected.is_of(record)
        # The key is computed from the graph before anything is built, the record from TensorRT's network.
        assert (record.profiles, record.precision) == (expected.profiles, expected.precision)
        assert record.profiles and record.precision == "fp16"
        assert record.sha256 == engine.sha256 and engine.path.stat().st_size > 10_000
        own = repository / engine.model / "1" / "model_sm80.plan.json"
        assert EngineRecord.from_json(json.loads(own.read_text())).profiles == record.profiles
    assert len(list(cache.glob("*.plan"))) == len(list(cache.glob("*.json"))) == 3
    assert not check_repository(repository).warnings


def test_a_second_start_builds_nothing(
    repository: Path, filled: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    cache, said = filled
    before = {path: path.stat().st_ino for path in cache.glob("*.plan")}
    add = ["engine", "cache", str(repository), str(cache)]
    assert cli.main([*add, *FOR_ADA]) == 0
    found = capsys.readouterr()
    assert found.err == "" and found.out.count("was there") == 3
    assert cli.main([*add, *FOR_ADA, "--json"]) == 0
    assert engines_of(capsys.readouterr().out) == engines_of(said)
    assert {path: path.stat().st_ino for path in cache.glob("*.plan")} == before
    assert cli.main([*add, "--compute-capability", "8.0", "--builder", "tensorrt-rtx", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [], "the repository has those"


def test_a_damaged_engine_and_another_graph_are_built_again(
    repository: Path, filled: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "engines"
    shutil.copytree(filled[0], cache)
    classifier = next(engine for engine in engines_of(filled[1]) if engine.model == GRAPHS[2])
    with (cache / classifier.path.name).open("r+b") as file:
        file.truncate(1000)
    assert cli.main(["engine", "cache", str(repository), str(cache), *FOR_ADA]) == 0
    found = capsys.readouterr()
    assert "it changed since it was built; the engine has to be built again" in found.err
    assert "sequence_classifier 1: built" in found.out and found.out.count("was there") == 2

    other = tmp_path / "other"
    shutil.copytree(repository, other)
    shutil.copyfile(  # a version with other weights would be another graph, too
        repository / GRAPHS[2] / "1" / "model.onnx", other / GRAPHS[2] / "1" / "model.onnx"
    )
    with (other / GRAPHS[2] / "1" / "model.onnx").open("ab") as file:
        file.write(b"\xa2\x06\x00")  # an unknown field of length 0: the same graph in other bytes
    assert cli.main(["engine", "cache", str(other), str(cache), *FOR_ADA]) == 0
    assert "sequence_classifier 1: built" in capsys.readouterr().out
    assert len(list(cache.glob("*.json"))) == 4


def test_of_two_servers_that_start_at_once_one_builds(repository: Path, tmp_path: Path) -> None:
    alone = tmp_path / "repository"
    shutil.copytree(repository / GRAPHS[2], alone / GRAPHS[2])
    command = [
        sys.executable,
        "-m",
        "deepfake_triton",
        "engine",
        "cache",
        str(alone),
        str(tmp_path / "engines"),
    ]
    started = [
        subprocess.Popen([*command, *FOR_ADA], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        said = [process.communicate(timeout=300) for process in started]
    finally:
        for process in started:
            process.kill()
    assert sorted(out.split(",")[0] for out, _ in said) == [
        "sequence_classifier 1: built",
        "sequence_classifier 1: was there",
    ]
    assert "".join(errors for _, errors in said).count("building sequence_classifier") == 1
    assert len({out.split(", ")[1] for out, _ in said}) == 1


def test_triton_gets_the_repository_s_files_and_the_cache_s_engines(
    repository: Path, filled: tuple[Path, str]
) -> None:
    engines, before = engines_of(filled[1]), snapshot(repository)
    folder = RuntimeFolder()
    try:
        models = check_repository(repository).models
        folder.link_models(repository, models, engines)
        assert sorted(path.name for path in folder.models.iterdir()) == sorted(models)
        for name in models:
            composed = folder.models / name
            config = config_from_text((composed / "config.pbtxt").read_text())
            assert (composed / "config.pbtxt").resolve() == repository / name / "config.pbtxt"
            if name not in GRAPHS:
                assert composed.is_symlink()
                continue
            # What Triton loads on a GPU of 8.9, and on one that the repository has an engine for.
            assert "8.9" not in config.cc_model_filenames and not config.default_model_filename
            (engine,) = [each for each in engines if each.model == name]
            plan = composed / "1" / "model.plan"
            assert plan.is_file() and not plan.is_symlink()
            assert plan.read_bytes() == engine.path.read_bytes()
            own = composed / "1" / config.cc_model_filenames["8.0"]
            assert own.resolve() == repository / name / "1" / "model_sm80.plan"
        folder.remove()
        assert snapshot(repository) == before
        assert all(engine.path.is_file() for engine in engines)
    finally:
        folder.remove()


def test_an_engine_that_changed_at_the_last_moment_is_not_served(
    repository: Path, filled: tuple[Path, str], tmp_path: Path
) -> None:
    engine = engines_of(filled[1])[0]
    changed = tmp_path / engine.path.name
    changed.write_bytes(engine.path.read_bytes()[:-1])
    for path, reason in ((changed, "it changed at this moment"), (tmp_path / "gone", "cannot be copied")):
        folder = RuntimeFolder()
        other = ModelEngine(engine.model, 1, "model.plan", path, engine.sha256)
        try:
            with pytest.raises(ServerFailed, match=reason):
                folder.link_models(repository, [engine.model], [other])
        finally:
            folder.remove()


def test_lacking_are_the_versions_that_triton_would_load(repository: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(repository, copy)
    path = copy / GRAPHS[0] / "config.pbtxt"
    config = config_from_text(path.read_text())
    shutil.copytree(copy / GRAPHS[0] / "1", copy / GRAPHS[0] / "2")
    shutil.copytree(copy / GRAPHS[0] / "1", copy / GRAPHS[0] / "3")

    def lacking() -> list[tuple[int, str]]:
        path.write_text(config_text(config))
        return [
            (each.version, each.file_name) for each in lacking_models(copy, "8.9") if each.name == GRAPHS[0]
        ]

    assert lacking() == [(1, "model.plan")]
    config.version_policy.specific.versions.append(3)  # as while versions are switched
    assert lacking() == [(1, "model.plan"), (3, "model.plan")]
    config.ClearField("version_policy")
    config.default_model_filename = "any.plan"
    assert lacking() == [(3, "any.plan")]
    (copy / GRAPHS[0] / "3" / "any.plan").write_text("somebody's own engine")
    assert lacking() == []
    config.default_model_filename = "../any.plan"
    with pytest.raises(EngineError, match="expected a plain file name"):
        lacking()
    config.backend = "onnxruntime"
    assert lacking() == [] and len(lacking_models(copy, "8.9")) == 2


def test_what_cannot_be_built_is_one_line(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy, cache = tmp_path / "copy", tmp_path / "engines"
    shutil.copytree(repository, copy)
    (copy / GRAPHS[1] / "1" / "model.onnx").unlink()
    (tmp_path / "file").write_text("")
    for arguments, says in (
        ([str(copy), str(cache)], "no GPU here to build for; pass --compute-capability"),
        ([str(copy), "engines", *FOR_ADA], "CACHE: got 'engines', expected an absolute path"),
        ([str(copy), str(copy / "engines"), *FOR_ADA], "is not apart from the repository"),
        ([str(copy), str(tmp_path / "file"), *FOR_ADA], "is a file"),
        ([str(tmp_path / "no"), str(cache), *FOR_ADA], "no such folder"),
        ([str(copy), str(cache), "--compute-capability", "8.9"], "comes with NVIDIA's Triton container"),
    ):
        assert cli.main(["engine", "cache", *arguments]) == 1
        error = capsys.readouterr().err
        assert says in error and error.count("\n") == 1
        assert not cache.exists()
    shutil.rmtree(copy / GRAPHS[0])  # what can be built would be built first
    assert cli.main(["engine", "cache", str(copy), str(cache), *FOR_ADA]) == 1
    assert "is missing, and engines are built from it" in capsys.readouterr().err
    (copy / GRAPHS[1] / "config.pbtxt").write_text("name: {")
    assert cli.main(["engine", "cache", str(copy), str(cache), *FOR_ADA]) == 1
    assert "cannot be read as a config" in capsys.readouterr().err
