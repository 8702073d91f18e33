"""Whole exports in other precisions and for other engines, and what the real server makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deepfake_triton import cli
from deepfake_triton.client import DeepfakeClient
from deepfake_triton.errors import CalibrationError, RepositoryConflict
from deepfake_triton.export.options import ExportOptions, Fp16, Int8, ParityOptions, TensorRTEngine
from deepfake_triton.export.pipeline import export
from deepfake_triton.export.repository.configs import config_from_text
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch
from deepfake_triton.serving.server import ServerOptions, TritonServer

GRAPHS = ("face_detector", "feature_extractor", "sequence_classifier")


def config(repository: Path, name: str) -> Any:
    return config_from_text((repository / name / "config.pbtxt").read_text())


def accelerators(repository: Path, name: str) -> list[str]:
    listed = config(repository, name).optimization.execution_accelerators.cpu_execution_accelerator
    return [each.name for each in listed]


def probability(repository: Path, frames: FrameBatch) -> float:
    options = ServerOptions.on_free_ports(repository)
    with TritonServer(options) as server, DeepfakeClient(server.url, timeout_s=60) as client:
        (face,) = client.faces(frames)
        return face.fake_probability


@pytest.fixture(scope="module")
def plain(clip_frames: FrameBatch, brief_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> float:
    """What FP32 under the plain provider says of the real clip."""
    output = tmp_path_factory.mktemp("plain") / "repository"
    report = export(ExportOptions(output, parity=ParityOptions(brief_clip)))
    assert (report.engine, report.precision, report.accelerator) == ("onnx", "fp32", None)
    assert all(not accelerators(output, name) for name in GRAPHS)
    return probability(output, clip_frames)


@pytest.mark.slow
def test_int8_through_openvino_is_served_and_keeps_the_verdict(
    int8_repository: Path, clip_frames: FrameBatch, plain: float
) -> None:
    report = json.loads((int8_repository / "export_report.json").read_text())
    assert (report["engine"], report["precision"], report["accelerator"]) == ("onnx", "int8", "openvino")
    models = report["models"]
    for name in GRAPHS[:2]:
        made = models[name]["quantisation"]
        assert models[name]["precision"] == "int8" and models[name]["runs_on"][-1] == "tensorrt"
        assert made["difference"] <= made["limit"] and len(made["sensitivity"]) > 10
        assert accelerators(int8_repository, name) == ["openvino"]
    parity = report["parity"]
    assert parity["precision"] == "int8" and "OpenVINO" in parity["runtimes"]["extractor"]
    assert parity["batch_probability_difference"] <= parity["limits"]["batch_probability"]
    assert probability(int8_repository, clip_frames) == pytest.approx(plain, abs=0.1)


@pytest.mark.slow
def test_the_classifier_is_int8_where_that_is_faster(int8_repository: Path) -> None:
    classifier = json.loads((int8_repository / "export_report.json").read_text())["models"][GRAPHS[2]]
    times = classifier["median_ms"]
    assert set(times) == {"fp32, openvino", "fp32, cpu", "int8, cpu"}
    in_int8 = times["int8, cpu"] < 0.9 * min(times["fp32, openvino"], times["fp32, cpu"])
    assert classifier["precision"] == ("int8" if in_int8 else "fp32")
    assert (config(int8_repository, GRAPHS[2]).max_batch_size == 0) == in_int8
    if in_int8:
        assert classifier["runs_on"] == ["onnxruntime"] and not accelerators(int8_repository, GRAPHS[2])


@pytest.mark.triton
def test_fp32_through_openvino_answers_as_the_plain_provider(
    default_repository: Path, clip_frames: FrameBatch, plain: float
) -> None:
    report = json.loads((default_repository / "export_report.json").read_text())
    assert (report["precision"], report["accelerator"]) == ("fp32", "openvino")
    assert all(accelerators(default_repository, name) == ["openvino"] for name in GRAPHS)
    assert probability(default_repository, clip_frames) == pytest.approx(plain, abs=2e-3)


@pytest.mark.compute
def test_fp16_halves_the_files_within_its_limits(tmp_path: Path) -> None:
    report = export(ExportOptions(tmp_path / "repository", precision=Fp16()))
    worst = max(case.max_probability_difference for case in report.parity.cases)
    assert 0 < worst <= report.parity.limits.probability == 1e-2
    assert report.parity.limits.logit is None
    size = (tmp_path / "repository" / "feature_extractor" / "1" / "model.onnx").stat().st_size
    assert size < 60e6


@pytest.mark.slow
def test_engines_for_several_gpus_stand_side_by_side(brief_clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "repository"
    options = ExportOptions(
        output,
        engine=TensorRTEngine("tensorrt-rtx", ("8.0", "8.9")),
        parity=ParityOptions(brief_clip),
    )
    report = export(options)
    for name in GRAPHS:
        served = config(output, name)
        assert served.backend == "tensorrt" and served.instance_group[0].kind == 1  # KIND_GPU
        assert dict(served.cc_model_filenames) == {"8.0": "model_sm80.plan", "8.9": "model_sm89.plan"}
        files = {path.name for path in (output / name / "1").iterdir()}
        engines = {"model_sm80.plan", "model_sm89.plan"}
        assert files == engines | {f"{engine}.json" for engine in engines} | {"model.onnx"}
        assert report.models[name].runs_on == ("tensorrt-rtx",)
        assert len(report.models[name].engines) == 2
    assert "not run" in report.parity.runtimes["tensorrt"]
    with pytest.raises(RepositoryConflict, match="for the backend tensorrt, the new version for onnxruntime"):
        export(ExportOptions(output, parity=ParityOptions(brief_clip)))


@pytest.mark.fast
def test_int8_needs_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CalibrationError, match="--precision int8 needs --calibration"):
        export(ExportOptions(tmp_path / "repository", precision=Int8(())))
    for options, says in (
        (["--engine", "tensorrt", "--accelerator", "openvino"], "TensorRT runs on GPUs"),
        (["--engine", "tensorrt"], "TensorRT comes with NVIDIA's Triton container"),
        (["--engine", "tensorrt", "--builder", "tensorrt-rtx", "--compute-capability", "1.0"], "got 1.0"),
        (["--compute-capability", "8.9"], "are for --engine tensorrt"),
        (["--calibration", str(tmp_path)], "is for --precision int8"),
        (["--gate", str(tmp_path / "no.csv")], "cannot be read as a manifest"),
    ):
        assert cli.main(["export", "--output", str(tmp_path / "repository"), *options]) == 1
        assert says in capsys.readouterr().err
    assert not (tmp_path / "repository").exists()
