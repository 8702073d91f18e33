from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from deepfake_triton.benchmarks.report.report import Report
from deepfake_triton.benchmarks.suite import load
from deepfake_triton.benchmarks.suite.clips import MIXED_KINDS, mixed_clips
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


def test_first_requests_stand_beside_later_ones_of_the_same_clip(
    bench: Callable[..., Report],
    shared_server: TritonServer,
    *,
    short_clip: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sizes, tail lengths and faces, a few of them: all are sent on a server of the benchmark's own."""
    monkeypatch.setattr(load, "mixed_clips", lambda: islice(mixed_clips(), 1, None, 5))
    options = ["--seconds", "0.1", "--callers", "1", "--shares", "1", "--video", str(short_clip)]
    report = bench("load", *options, "--mixed-sizes")
    result = report.result
    assert isinstance(result, LoadResult) and result.mixed_sizes
    kinds = MIXED_KINDS[1::5]
    assert [(found.clip, found.faces) for found in result.mixed_sizes] == [
        (kind.name, kind.faces) for kind in kinds
    ]
    for found in result.mixed_sizes:
        assert found.first_ms > 0 and len(found.later_ms) >= 3 and min(found.later_ms) > 0
        assert min(found.later_ms) <= found.later_median_ms <= max(found.later_ms)
        assert found.ratio == found.first_ms / found.later_median_ms
        assert f"| {found.clip} | {found.faces} | {found.first_ms} |" in report.markdown()


def test_a_perf_analyzer_that_does_not_run_is_told_with_the_result(
    bench: Callable[..., Report], shared_server: TritonServer, *, short_clip: Path, tmp_path: Path
) -> None:
    missing = tmp_path / "perf_analyzer"
    options = ["--seconds", "0.1", "--callers", "1", "--shares", "1", "--video", str(short_clip)]
    report = bench("load", *options, "--perf-analyzer", str(missing))
    assert f"perf_analyzer was not run: {missing} does not run" in report.markdown()
