"""Builds of ONNX Runtime that own the same files: several at once, and what one leaves of another."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import pytest

from deepfake_triton import cli
from deepfake_triton.errors import MissingDependency
from deepfake_triton.host.onnx_runtime import (
    conflicting_builds_warning,
    import_onnx_runtime,
    installed_builds,
)

pytestmark = pytest.mark.fast


def known_to_pip(folder: Path, name: str, version: str) -> None:
    """What pip leaves to know a package by."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages before those of this environment."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_the_build_of_this_environment_is_alone_and_works() -> None:
    assert len(installed_builds()) == 1 and conflicting_builds_warning() is None
    assert hasattr(import_onnx_runtime(), "InferenceSession")


def test_two_builds_at_once_are_said_with_the_way_out(
    packages: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (own,) = installed_builds()
    other = "onnxruntime-gpu" if own == "onnxruntime" else "onnxruntime"
    known_to_pip(packages, other, "9.9.0")
    text = conflicting_builds_warning()
    assert text is not None and f"{other} 9.9.0" in text and f"{own} {metadata.version(own)}" in text
    assert "pip uninstall -y onnxruntime" in text and "then pip install" in text
    (tmp_path / "no_repository").mkdir()
    assert cli.main(["serve", str(tmp_path / "no_repository")]) == 1
    assert capsys.readouterr().err.startswith(f"deepfake-triton: {text}\n")


def test_a_build_whose_files_went_with_another_is_named(
    packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (packages / "onnxruntime").mkdir()
    (packages / "onnxruntime" / "__init__.py").touch()
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    with pytest.raises(MissingDependency, match="pip install --force-reinstall --no-deps onnxruntime"):
        import_onnx_runtime()
    (packages / "onnxruntime" / "__init__.py").write_text("raise ImportError('libonnxruntime.so.1: no file')")
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    with pytest.raises(MissingDependency, match=r"cannot be imported: libonnxruntime\.so\.1"):
        import_onnx_runtime()
