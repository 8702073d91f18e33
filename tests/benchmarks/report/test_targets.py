from __future__ import annotations

from dataclasses import replace

import pytest

from deepfake_triton.benchmarks.baselines.labels import (
    FASTAPI_BATCHING,
    PROCESS,
    PROCESS_BATCHES,
    PUBLISHED,
    REFERENCE,
)
from deepfake_triton.benchmarks.measure.comparison import PathResult
from deepfake_triton.benchmarks.measure.environment import Environment, read_environment
from deepfake_triton.benchmarks.measure.timing import Timing, ratio_of_medians
from deepfake_triton.benchmarks.report.targets import Target, targets
from deepfake_triton.benchmarks.suite.compare import CompareResult
from deepfake_triton.benchmarks.suite.roofline import GraphResult, RooflineResult
from deepfake_triton.benchmarks.suite.stages import StagesResult

pytestmark = pytest.mark.fast


def compared(**throughputs: list[float]) -> CompareResult:
    paths = {}
    for name, own in throughputs.items():
        path = PathResult(probability=0.9, same_verdict=True, callers=8, clips_per_second=tuple(own))
        ratio = None if name == REFERENCE else ratio_of_medians(throughputs[REFERENCE], own)
        paths[name] = replace(path, throughput_ratio=ratio)
    return CompareResult("clip.mp4", 20, 8, paths)


def graph(measured_ms: float, limit_ms: float) -> GraphResult:
    return GraphResult(
        precision="fp32",
        runtime="ONNX Runtime",
        giga_operations=1.0,
        weight_mb=1.0,
        activation_mb=1.0,
        measured_ms=measured_ms,
        limit_ms=limit_ms,
        bound_by="compute",
        share_of_limit=limit_ms / measured_ms,
        timing=Timing.from_values("graph", [measured_ms]),
    )


def on(*instructions: str) -> Environment:
    """A machine whose CPU has these."""
    return replace(read_environment(), instructions=instructions)


AVX2 = on("avx2")


def by_aim(judged: list[Target], words: str) -> Target:
    (target,) = [target for target in judged if words in target.aim]
    return target


def test_a_missed_throughput_names_the_network_that_holds_it() -> None:
    rates = {REFERENCE: [2.0] * 5, PUBLISHED: [0.1] * 5, PROCESS: [2.1] * 5, PROCESS_BATCHES: [1.9] * 5}
    graphs = {"face_detector": graph(100, 50), "feature_extractor": graph(300, 200)}
    judged = targets([compared(**rates), RooflineResult({}, 1.0, graphs)], on("avx2", "avx512_vnni"))
    missed = by_aim(judged, "published")
    assert not missed.is_met and missed.measured.startswith("20.00")
    assert "feature_extractor, 300 ms, 67% of the limit" in missed.bottleneck
    assert "(250 ms a clip) 40.0 times" in missed.bottleneck
    process = by_aim(judged, "one process")
    assert process.is_met and process.measured.startswith("0.95 "), "of the better of the two"
    assert by_aim(judged, "face_detector at").is_met
    assert [target.is_met for target in judged if "published" not in target.aim] == [True] * 3


@pytest.mark.parametrize(
    ("peer", "is_met"), [([2.0, 2.02, 1.98], True), ([3.0, 3.1, 3.05], False), ([1.0, 2.0, 3.0], None)]
)
def test_no_slower_is_decided_by_the_interval(peer: list[float], is_met: bool | None) -> None:
    rates = {REFERENCE: [2.0, 1.99, 2.01], PROCESS: [1.0] * 3, FASTAPI_BATCHING: peer}
    assert by_aim(targets([compared(**rates)], AVX2), "micro-batching").is_met is is_met


def test_too_much_beside_the_networks_names_the_stage() -> None:
    stages = StagesResult(
        video="clip.mp4",
        frames=20,
        transport="auto",
        median_ms={"decode": 10.0, "scale": 30.0, "feature_extractor": 60.0},
        total_ms=100.0,
        unexplained_ms=0.0,
        unexplained_share=0.0,
        not_networks_share=0.4,
        samples=(),
    )
    (target,) = targets([stages], AVX2)
    assert not target.is_met and target.measured == "40%" and target.bottleneck == "scale, 30.0 ms of 100.0"


def test_nothing_measured_is_nothing_claimed() -> None:
    assert targets([], AVX2) == []


@pytest.mark.parametrize("instruction", ["avx512_vnni", "avx_vnni", "amx_int8", "amx_bf16"])
def test_more_is_aimed_at_where_int8_or_bfloat16_is_fast(instruction: str) -> None:
    rates = {REFERENCE: [2.0] * 5, PUBLISHED: [0.08] * 5, PROCESS: [2.0] * 5}
    found = compared(**rates)
    reference = replace(found.paths[REFERENCE], latency=Timing.from_values("clip", [250.0] * 5))
    found = replace(found, paths={**found.paths, REFERENCE: reference})
    without, with_it = targets([found], AVX2), targets([found], on("avx2", instruction))
    assert by_aim(without, "20 times").is_met and by_aim(with_it, "45 times").is_met is False
    assert by_aim(with_it, "190 ms").measured == "250 ms" and not by_aim(with_it, "190 ms").is_met
    assert not any("one caller" in target.aim for target in without)
