"""TensorRT engines, really compiled by TensorRT-RTX for GPUs that are not here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import written_graph

from deepfake_triton import cli
from deepfake_triton.errors import EngineError
from deepfake_triton.export.tensorrt.builder import EngineOptions, build_engine
from deepfake_triton.models.default_checkpoint import default_checkpoint
from deepfake_triton.models.onnx_export import (
    classifier_onnx_from_checkpoint,
    extractor_onnx_from_checkpoint,
)
from deepfake_triton.models.runtimes.tensorrt_library import TensorRT, load_tensorrt
from deepfake_triton.repository.engine_record import read_engine_record

pytestmark = pytest.mark.compute

DOUBLE = """
<ir_version: 8, opset_import: ["" : 17]>
double (float[N, 4] x) => (float[N, 4] y) { y = Add (x, x) }
"""
BROKEN = """
<ir_version: 8, opset_import: ["" : 17, "nobody" : 1]>
broken (float[N, 4] x) => (float[N, 4] y) { twice = Add (x, x)  y = nobody.Conjure (twice) }
"""
PROFILE = ["--profile", "x=1x4,2x4,8x4"]


@pytest.fixture(scope="module")
def library() -> TensorRT:
    return load_tensorrt("tensorrt-rtx")


@pytest.fixture(scope="module")
def graphs(detector_path: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, checkpoint = tmp_path_factory.mktemp("graphs"), default_checkpoint()
    return {
        "frames": detector_path,
        "faces": extractor_onnx_from_checkpoint(checkpoint, folder / "extractor.onnx"),
        "features": classifier_onnx_from_checkpoint(checkpoint, folder / "classifier.onnx"),
    }


@pytest.mark.parametrize("capability", ["8.0", "8.9"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", ["frames", "faces", "features"])
def test_every_graph_of_ours_compiles(
    *, graphs: dict[str, Path], library: TensorRT, tmp_path: Path, name: str, precision: str, capability: str
) -> None:
    engine = tmp_path / "model.plan"
    options = EngineOptions(precision=precision, compute_capability=capability)  # type: ignore[arg-type]
    record = build_engine(graphs[name], engine, library, options=options)
    assert record == read_engine_record(engine)
    assert (record.precision, record.compute_capability) == (precision, capability)
    assert [tensor.name for tensor in record.inputs] == [name] and set(record.profiles) == {name}
    assert record.inputs[0].dtype == ("float32" if name == "features" else "uint8")
    content = engine.read_bytes()
    assert all(tensor.name.encode() in content for tensor in (*record.inputs, *record.outputs))
    share = len(content) / graphs[name].stat().st_size
    if name == "features":  # nearly all of it is an LSTM, which stays FP32
        assert share > 0.9
    else:
        assert share > 0.9 if precision == "fp32" else share < 0.75


def test_inspect_prints_the_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph, engine = written_graph(DOUBLE, tmp_path / "m.onnx"), tmp_path / "deep" / "m.plan"
    build = ["engine", "build", str(graph), "--output", str(engine), "--compute-capability", "8.6", *PROFILE]
    assert cli.main(build) == 0
    assert "fp32, compute capability 8.6, tensorrt-rtx 1." in capsys.readouterr().out
    assert cli.main(["engine", "inspect", str(engine), "--json"]) == 0
    known = json.loads(capsys.readouterr().out)
    assert known["source"] == "build record" and "deserialised" not in known
    assert known["inputs"] == [{"name": "x", "dtype": "float32", "shape": [-1, 4]}]
    assert known["outputs"] == [{"name": "y", "dtype": "float32", "shape": [-1, 4]}]
    assert known["profiles"] == {"x": {"min": [1, 4], "opt": [2, 4], "max": [8, 4]}}
    assert cli.main(["engine", "inspect", str(engine)]) == 0
    assert "profile   x [1, 4], [2, 4], [8, 4]" in capsys.readouterr().out


def test_an_engine_that_changed_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph, engine = written_graph(DOUBLE, tmp_path / "m.onnx"), tmp_path / "m.plan"
    build = ["engine", "build", str(graph), "--output", str(engine), "--compute-capability", "8.0", *PROFILE]
    assert cli.main(build) == 0
    engine.write_bytes(engine.read_bytes()[:-1])
    assert cli.main(["engine", "inspect", str(engine), "--json"]) == 1
    assert "the engine changed after it was built" in capsys.readouterr().err
    (tmp_path / "m.plan.json").write_text("{}")
    with pytest.raises(EngineError, match="no build record"):
        read_engine_record(engine)
    (tmp_path / "m.plan.json").unlink()
    with pytest.raises(EngineError, match="cannot be read"):
        read_engine_record(engine)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (BROKEN, PROFILE, "node conjure_1 (Conjure) was refused"),
        (DOUBLE, [], "input x -1x4 has dynamic sizes; pass --profile x=MIN,OPT,MAX"),
        (DOUBLE, [*PROFILE, "--compute-capability", "3.5"], "got 3.5, expected one of 7.5, 8.0, 8.6, 8.9"),
        (DOUBLE, ["--profile", "z=1,2,3"], "the graph has no such input, only x"),
    ],
)
def test_what_cannot_be_built_leaves_one_line_and_no_file(
    *, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, options: list[str], message: str
) -> None:
    graph, engine = written_graph(text, tmp_path / "m.onnx"), tmp_path / "out" / "m.plan"
    build = ["engine", "build", str(graph), "--output", str(engine), "--compute-capability", "8.9", *options]
    assert cli.main(build) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not engine.parent.exists()


def test_a_file_that_is_no_graph_is_refused(library: TensorRT, tmp_path: Path) -> None:
    for content in (b"", b"not a graph"):
        path = tmp_path / "m.onnx"
        path.write_bytes(content)
        with pytest.raises(EngineError, match=r"holds no graph|cannot be read as ONNX"):
            build_engine(path, tmp_path / "m.plan", library, options=EngineOptions(compute_capability="8.9"))
    with pytest.raises(EngineError, match="cannot be read as ONNX"):
        build_engine(
            tmp_path / "no", tmp_path / "m.plan", library, options=EngineOptions(compute_capability="8.9")
        )
