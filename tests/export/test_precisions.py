"""Whole exports in other precisions and for other engines, and what the real server makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deepfake_triton import cli
from deepfake_triton.client import DeepfakeClient
from deepfake_triton.errors import RepositoryConflict
from deepfake_triton.export.options import (
    Bf16,
    ExportOptions,
    Fp16,
    OnnxRuntimeEngine,
    ParityOptions,
    TensorRTEngine,
)
from deepfake_triton.export.pipeline import export
from deepfake_triton.export.repository.configs import config_from_text
from deepfake_triton.host.cpu import has_bf16
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch
from deepfake_triton.repository.export_report import REPORT_NAME, read_report
from deepfake_triton.repository.report_sections import CalibrationReport
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
        assert made["difference"] <= made["limit"]
        assert (len(made["sensitivity"]) > 10) == bool(made["kept_in_fp32"])
        assert accelerators(int8_repository, name) == ["openvino"]
    parity = report["parity"]
    assert parity["precision"] == "int8" and "OpenVINO" in parity["runtimes"]["extractor"]
    assert parity["batch_probability_difference"] <= parity["limits"]["batch_probability"]
    assert probability(int8_repository, clip_frames) == pytest.approx(plain, abs=0.1)


@pytest.mark.slow
def test_int8_without_files_of_one_s_own_is_calibrated_on_bundled_portraits_and_says_so(
    tmp_path: Path, clip_frames: FrameBatch, plain: float, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "repository"
    assert cli.main(["export", "--output", str(output), "--precision", "int8"]) == 0
    assert "warning     INT8 is calibrated on 40 studio portraits" in capsys.readouterr().out
    report = read_report(output / REPORT_NAME)
    assert report.calibration == CalibrationReport(bundled=True, faces=40)
    for name in GRAPHS[:2]:
        made = report.models[name].quantization
        assert report.models[name].precision == "int8" and made and 0 < made.difference <= made.limit
    assert report.parity.max_probability_difference <= report.parity.limits.probability
    assert probability(output, clip_frames) == pytest.approx(plain, abs=0.1)


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


@pytest.mark.triton
@pytest.mark.skipif(not has_bf16(), reason="this CPU has no bfloat16")
def test_bf16_is_served_within_its_limits_and_both_parities_are_told(
    clip_frames: FrameBatch, plain: float, tmp_path: Path
) -> None:
    output = tmp_path / "repository"
    report = export(ExportOptions(output, precision=Bf16(), engine=OnnxRuntimeEngine(openvino=True)))
    assert (report.precision, report.accelerator) == ("bf16", "openvino")
    precisions = {name: model.precision for name, model in report.models.items()}
    assert precisions == dict(zip(GRAPHS, ("fp32", "bf16", "fp32"), strict=True))
    assert report.fallback_parity is not None and report.fallback_parity.precision == "fp32"
    in_bf16, in_fp32 = (
        report.parity.max_probability_difference,
        report.fallback_parity.max_probability_difference,
    )
    assert in_fp32 < 5e-4 < in_bf16 <= report.parity.limits.probability, "it is computed in another precision"
    assert read_report(output / REPORT_NAME) == report
    served = probability(output, clip_frames)
    assert plain != pytest.approx(served, abs=1e-6) and served == pytest.approx(plain, abs=0.02)


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
def test_options_that_do_not_fit_are_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
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
