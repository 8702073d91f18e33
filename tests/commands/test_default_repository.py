"""The default repository in the user's cache: made once, as a whole, by one process at a time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deepfake_triton.commands import default_repository as module
from deepfake_triton.commands.default_repository import cache_folder, code_fingerprint, default_repository
from deepfake_triton.errors import OutputRefused, ParityError
from deepfake_triton.export import pipeline
from deepfake_triton.export.options import ExportOptions

pytestmark = pytest.mark.fast


@pytest.fixture
def exports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ExportOptions]]:
    """The exports that were made, each of one file, in a cache of its own."""
    made: list[ExportOptions] = []

    def export(options: ExportOptions) -> None:
        made.append(options)
        options.output.mkdir()
        time.sleep(0.1)
        (options.output / "export_report.json").write_text("{}")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(pipeline, "export", export)
    yield made


def test_it_is_made_once(exports: list[ExportOptions], tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as threads:
        found = {each.result() for each in [threads.submit(default_repository) for _ in range(3)]}
    [repository] = found
    assert len(exports) == 1 and repository.parent.parent == tmp_path / "cache" / "deepfake-triton"
    assert repository.name.startswith(code_fingerprint()[:16])
    assert [path.name for path in repository.iterdir()] == ["export_report.json"]
    assert {path.name for path in repository.parent.iterdir()} == {"lock", repository.name}


def test_it_is_made_for_the_onnx_runtime_that_is_installed(
    exports: list[ExportOptions], monkeypatch: pytest.MonkeyPatch
) -> None:
    for builds, openvino in ((["onnxruntime"], False), (["onnxruntime-openvino"], True)):
        monkeypatch.setattr(module, "installed_builds", lambda builds=builds: builds)
        default_repository()
        assert exports[-1].engine.openvino is openvino  # type: ignore[union-attr]
    assert len({options.output for options in exports}) == 2


def test_an_export_that_fails_leaves_nothing(
    exports: list[ExportOptions], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(options: ExportOptions) -> None:
        options.output.mkdir()
        raise ParityError("outputs differ")

    with monkeypatch.context() as failing:
        failing.setattr(pipeline, "export", fail)
        with pytest.raises(ParityError):
            default_repository()
    folder = cache_folder() / "repositories"
    assert [path.name for path in folder.iterdir()] == ["lock"]
    (folder / ".killed.1").mkdir()
    (folder / "of-an-old-release").mkdir()
    (folder / "of-another-release").mkdir()
    os.utime(folder / "of-an-old-release", (1, 1))
    repository = default_repository()
    assert {path.name for path in folder.iterdir()} == {"lock", repository.name, "of-another-release"}


def test_a_cache_that_cannot_be_written_is_named(
    exports: list[ExportOptions], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(OutputRefused, match="name another cache in XDG_CACHE_HOME"):
        default_repository()
    assert exports == []


def test_a_relative_cache_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == Path.home() / ".cache" / "deepfake-triton"
