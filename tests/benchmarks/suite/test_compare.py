"""The comparison by its command, in short: answers that agree first, then figures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deepfake_triton.benchmarks.baselines.baseline import Baseline
from deepfake_triton.benchmarks.baselines.labels import DETECT, FASTAPI, FASTAPI_BATCHING, REFERENCE, TORCH
from deepfake_triton.benchmarks.measure.comparison import PathResult, agrees, path_result
from deepfake_triton.benchmarks.measure.timing import Timing
from deepfake_triton.benchmarks.report.report import Report
from deepfake_triton.benchmarks.suite.compare import CompareResult
from deepfake_triton.operating_point import OperatingPoint
from deepfake_triton.serving.server import TritonServer


@pytest.mark.slow
@pytest.mark.alone
def test_what_is_compared_gives_the_same_verdict_first(
    default_repository: Path,
    bench: Callable[..., Report],
    default_server: TritonServer,
    *,
    short_clip: Path,
    tmp_path: Path,
) -> None:
    options = ["--quick", "--rounds", "2", "--seconds", "0.1", "--callers", "1", "--no-published"]
    options += ["--also", str(default_repository), "--also-server", f"elsewhere={default_server.url}"]
    result = bench("compare", *options, "--video", str(short_clip)).result
    assert isinstance(result, CompareResult)
    paths = result.paths
    assert len(paths) == 14 and all(path.same_verdict for path in paths.values())
    assert {"this server, FP32, OpenVINO", "elsewhere"} < set(paths)
    command = paths[DETECT]
    assert command.cpu_seconds_per_clip and 0 < command.cpu_seconds_per_clip < 5
    assert len(command.clips_per_second) == 2 and min(command.clips_per_second) > 0
    exact = [path.probability for name, path in paths.items() if "JPEG" not in name]
    assert max(exact) - min(exact) < 0.002
    for name in (TORCH, FASTAPI, FASTAPI_BATCHING):
        latency_ratio, throughput_ratio = paths[name].latency_ratio, paths[name].throughput_ratio
        assert latency_ratio and latency_ratio.text and throughput_ratio and throughput_ratio.text
    assert "times the throughput of the plain FastAPI" in (tmp_path / "targets.md").read_text()


@pytest.mark.fast
def test_a_path_that_answers_otherwise_gets_no_ratio() -> None:
    path = Baseline("other", lambda _: 0.9)
    timings = {name: Timing.from_values(name, [10.0] * 4) for name in (REFERENCE, "other")}
    throughputs = {name: [2.0] * 4 for name in (REFERENCE, "other")}

    def compared(*, same_verdict: bool) -> PathResult:
        return path_result(
            path,
            probability=0.9,
            same_verdict=same_verdict,
            callers=1,
            timings=timings,
            throughputs=throughputs,
        )

    other = compared(same_verdict=False)
    assert other.latency == timings["other"] and other.clips_per_second == (2.0,) * 4
    assert other.latency_ratio is None and other.throughput_ratio is None
    assert compared(same_verdict=True).throughput_ratio


@pytest.mark.fast
@pytest.mark.parametrize(
    ("probability", "reference", "is_two_way", "same"),
    [
        (0.2, 0.1, False, True),
        (0.3, 0.1, False, False),
        (0.3, 0.1, True, True),
        (0.6, 0.1, True, False),
        (0.6, 0.9, True, True),
        (float("nan"), 0.1, True, False),
    ],
)
def test_a_path_that_knows_no_uncertain_verdict_agrees_by_the_border_of_fake(
    *, probability: float, reference: float, is_two_way: bool, same: bool
) -> None:
    point = OperatingPoint("balanced", fake_at_least=0.5, real_at_most=0.25)
    assert agrees(probability, reference, point, is_two_way=is_two_way) == same
