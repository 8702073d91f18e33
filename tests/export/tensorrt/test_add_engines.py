"""Engines for one more GPU beside those that are there, compiled by TensorRT-RTX."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from support import new_version

from deepfake_triton import cli
from deepfake_triton.errors import InvalidRepository
from deepfake_triton.export.repository.configs import config_from_text
from deepfake_triton.export.repository.layout import publish
from deepfake_triton.export.repository.versions import activate
from deepfake_triton.repository.approval import accept
from deepfake_triton.repository.check import check_repository
from deepfake_triton.repository.engine_record import read_engine_record

pytestmark = pytest.mark.compute

GRAPHS = ("face_detector", "feature_extractor", "sequence_classifier")


@pytest.fixture(scope="module")
def repository(tensorrt_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("engines") / "repository"
    shutil.copytree(tensorrt_repository, output)
    return output


def engines(repository: Path, name: str) -> dict[str, str]:
    config = config_from_text((repository / name / "config.pbtxt").read_text())
    return dict(config.cc_model_filenames)


def test_a_second_gpu_gets_its_engines_beside_the_first(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add = ["engine", "add", str(repository), "--compute-capability", "8.9", "--builder", "tensorrt-rtx"]
    assert cli.main(add) == 0
    assert "built face_detector, feature_extractor, sequence_classifier for" in capsys.readouterr().out
    report = json.loads((repository / "export_report.json").read_text())
    assert report == json.loads((repository / "deepfake_detector" / "1" / "export_report.json").read_text())
    for name in GRAPHS:
        assert engines(repository, name) == {"8.0": "model_sm80.plan", "8.9": "model_sm89.plan"}
        folder = repository / name / "1"
        by_gpu = engines(repository, name)  # a map, in any order
        first, second = (read_engine_record(folder / by_gpu[gpu]) for gpu in ("8.0", "8.9"))
        assert (first.compute_capability, second.compute_capability) == ("8.0", "8.9")
        assert first.onnx_sha256 == second.onnx_sha256 == report["onnx"]["sha256"][name]
        assert (first.precision, first.profiles) == (second.precision, second.profiles)
        assert len(report["models"][name]["engines"]) == 2
        assert report["models"][name]["files"] == {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()
        }
    assert not check_repository(repository).warnings
    files = [path for path in repository.rglob("*") if path.is_file()]
    assert len(json.loads((repository / "repository_record.json").read_text())["files"]) == len(files) - 1
    before = {path: path.stat().st_mtime_ns for path in repository.rglob("*") if path.is_file()}
    assert cli.main(add) == 0
    assert "has engines for compute capability 8.9" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in repository.rglob("*") if path.is_file()}
    activate(repository, 1)
    assert set(engines(repository, GRAPHS[0])) == {"8.0", "8.9"}, "the version keeps its configs"


def test_what_cannot_be_added_changes_nothing(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(new_version(tmp_path, 1), tmp_path / "onnx")
    before = sorted(repository.rglob("*"))
    for arguments, says in (
        ([str(tmp_path / "onnx"), "--compute-capability", "8.6"], "for the backend onnxruntime"),
        ([str(tmp_path), "--compute-capability", "8.6"], "no repository"),
        ([str(repository)], "no GPU here to build for; pass --compute-capability"),
        ([str(repository), "--compute-capability", "8.6"], "TensorRT comes with NVIDIA's Triton container"),
        ([str(repository), "--compute-capability", "9.9", "--builder", "tensorrt-rtx"], "got 9.9"),
    ):
        assert cli.main(["engine", "add", *arguments]) == 1
        error = capsys.readouterr().err
        assert says in error and error.count("\n") == 1
    assert sorted(repository.rglob("*")) == before
    graph = repository / "feature_extractor" / "1" / "model.onnx"
    content = graph.read_bytes()
    graph.unlink()
    add = ["engine", "add", str(repository), "--compute-capability", "8.6", "--builder", "tensorrt-rtx"]
    assert cli.main(add) == 1 and f"{graph}: is missing; restore it" in capsys.readouterr().err
    accept(repository)
    assert cli.main(add) == 1 and "is missing, and engines are built from it" in capsys.readouterr().err
    graph.write_bytes(content)
    with pytest.raises(InvalidRepository, match="is not in the record"):
        check_repository(repository)
    accept(repository)
    assert sorted(repository.rglob("*")) == before
