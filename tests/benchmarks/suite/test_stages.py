from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deepfake_triton.benchmarks.report.report import Report
from deepfake_triton.benchmarks.suite.stages import STAGES, StagesResult
from deepfake_triton.serving.server import TritonServer

pytestmark = pytest.mark.triton


def test_stages_add_up(
    bench: Callable[..., Report], shared_server: TritonServer, benchmark_clip: Path
) -> None:
    result = bench("stages", "--rounds", "4", "--video", str(benchmark_clip)).result
    assert isinstance(result, StagesResult)
    assert set(result.median_ms) == set(STAGES) and len(result.samples) == 4 and result.frames == 20
    assert all(value > 0 for stage, value in result.median_ms.items() if stage != "between steps")
    assert result.unexplained_share < 0.25, "0.1 where nobody else is at work"
    assert result.median_ms["feature_extractor"] > result.median_ms["face_tracker"]
