"""The comparison of INT8 libraries: its parts, and each installed library on a small network."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from deepfake_triton.benchmarks.int8_libraries.__main__ import choose_clips
from deepfake_triton.benchmarks.int8_libraries.builders import (
    GraphQuantizer,
    quantize_by_modelopt,
    quantize_by_nncf,
    quantize_by_onnxruntime,
    quantize_by_smoothquant,
)
from deepfake_triton.benchmarks.int8_libraries.comparison import (
    CachedRunner,
    LibraryResult,
    compare_library,
    results_table,
)
from deepfake_triton.benchmarks.int8_libraries.workspace import Workspace, split_nodes
from deepfake_triton.dataset_manifest import ManifestRow
from deepfake_triton.export.parity.accuracy_gate import GateClips
from deepfake_triton.models.graph_partition import is_quantized, named_copy
from deepfake_triton.models.metadata import ModelMetadata
from deepfake_triton.models.onnx_export import export_onnx
from deepfake_triton.models.runtimes.base import Feed
from deepfake_triton.models.runtimes.onnx_runner import OnnxRunner
from deepfake_triton.models.stages import Stages
from deepfake_triton.repository.report_sections import GateReport

pytestmark = pytest.mark.compute

FEEDS: list[Feed] = [
    {"x": np.random.default_rng(seed).uniform(-1, 1, (1, 3, 16, 16)).astype(np.float32)} for seed in range(8)
]


class CountingRunner:
    """Doubles its input, and counts its calls."""

    runtime = "counting"
    calls = 0

    def infer(self, feed: Feed) -> Feed:
        """Return twice the input."""
        self.calls += 1
        return {"y": 2 * feed["x"]}


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("net") / "net.onnx"
    axes = {"x": {0: "N"}, "y": {0: "N"}}
    module = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1)).eval()
    export_onnx(module, (torch.zeros(1, 3, 16, 16),), path, inputs=["x"], outputs=["y"], dynamic_axes=axes)
    onnx.save(named_copy(onnx.load(path)), str(path))
    return path


@pytest.mark.parametrize(
    ("package", "quantizer"),
    [
        ("onnxruntime", quantize_by_onnxruntime),
        ("nncf", quantize_by_nncf),
        ("nncf", quantize_by_smoothquant),
        ("modelopt", quantize_by_modelopt),
    ],
)
def test_each_library_quantizes(package: str, quantizer: GraphQuantizer, net: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    quantizer(net, FEEDS, tmp_path / "int8.onnx")
    assert is_quantized(onnx.load(tmp_path / "int8.onnx"))
    wanted, got = (OnnxRunner(path).infer(FEEDS[0])["y"] for path in (net, tmp_path / "int8.onnx"))
    assert 0 < np.abs(wanted - got).max() < 0.1 * np.abs(wanted).max()


def test_all_nodes_are_quantizable_or_not(net: Path) -> None:
    quantizable, others = split_nodes(net)
    assert len(quantizable) == 3 and not others


def test_the_reference_computes_a_feed_once() -> None:
    counting = CountingRunner()
    cached = CachedRunner(counting)
    for feed in (FEEDS[0], FEEDS[1], FEEDS[0]):
        assert np.array_equal(cached.infer(feed)["y"], 2 * feed["x"])
    assert counting.calls == 2


def test_clips_are_chosen_by_person() -> None:
    rows = [
        ManifestRow(f"{label}/{person}.mp4", label, f"p{person:02}", "s", "", "", "test")
        for label in ("real", "fake")
        for person in range(20)
    ]
    chosen = choose_clips(GateClips(Path("manifest.csv"), rows), count=10).rows
    assert [row.identity for row in chosen] == ["p00", "p04", "p08", "p12", "p16"] * 2


def test_a_library_that_fails_is_a_row_with_its_error(tmp_path: Path) -> None:
    result = compare_library(
        "olive",
        Workspace(tmp_path),
        GateClips(tmp_path / "manifest.csv", []),
        metadata=ModelMetadata(),
        reference=Stages(detector=CountingRunner(), extractor=CountingRunner(), classifier=CountingRunner()),
        timeout_s=120,
    )
    assert result.accuracy is None and result.error == "KeyError: 'olive'"
    report = GateReport("manifest.csv", 40, 0, 0.5, 0.93, 0.92, 0.025, 0.01, "fake/1.mp4", 0.2)
    table = results_table([result, LibraryResult("ours", report, 90.4, 130.0)])
    assert "| olive | KeyError: 'olive' |  |  |  | " in table
    assert "| ours | 0.0100 | 0.200 | 1 of 40 | 0.9200 (0.9300) | 90 | 130 |" in table
