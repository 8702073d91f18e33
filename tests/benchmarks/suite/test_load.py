from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deepfake_triton.benchmarks.report.report import Report
from deepfake_triton.benchmarks.suite.load import LoadResult
from deepfake_triton.preprocessing.video.clip import decode_clip
from deepfake_triton.serving.server import TritonServer

pytestmark = pytest.mark.triton


def test_a_point_for_each_number_of_callers_and_each_rate(
    bench: Callable[..., Report], shared_server: TritonServer, short_clip: Path
) -> None:
    options = ["--seconds", "1.5", "--callers", "1,4", "--shares", "0.5", "--video", str(short_clip)]
    result = bench("load", *options).result
    assert isinstance(result, LoadResult)
    assert [point.callers for point in result.closed_loop] == [1, 4]
    clip_frames = len(decode_clip(short_clip).frames)
    for point in result.closed_loop:
        latency, server = point.latency, point.usage["server"]
        assert latency and latency.p50_ms <= latency.p95_ms <= latency.p99_ms
        assert point.clips_per_second > 0 and server.memory_mib > 50 and server.cpu_s > 0
        frames = sum(size * count for size, count in point.batches["face_detector"].items())
        assert frames == clip_frames * len(point.samples_ms)
    assert result.peak_per_second == max(point.clips_per_second for point in result.closed_loop)
    (rate,) = result.open_loop
    assert rate.outcomes.get("answered", 0) >= 1


def test_a_perf_analyzer_that_does_not_run_is_told_with_the_result(
    bench: Callable[..., Report], shared_server: TritonServer, *, short_clip: Path, tmp_path: Path
) -> None:
    missing = tmp_path / "perf_analyzer"
    options = ["--seconds", "0.1", "--callers", "1", "--shares", "1", "--video", str(short_clip)]
    report = bench("load", *options, "--perf-analyzer", str(missing))
    assert f"perf_analyzer was not run: {missing} does not run" in report.markdown()
