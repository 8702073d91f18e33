from __future__ import annotations

from collections.abc import Callable

import pytest

from deepfake_triton.benchmarks.report.report import Report
from deepfake_triton.benchmarks.suite.roofline import RooflineResult

pytestmark = pytest.mark.compute


def test_limits_are_not_exceeded_and_the_machine_has_rates(bench: Callable[..., Report]) -> None:
    result = bench("limit").result
    assert isinstance(result, RooflineResult)
    assert set(result.graphs) == {"face_detector", "feature_extractor", "sequence_classifier"}
    extractor = result.graphs["feature_extractor"]
    assert extractor.giga_operations == pytest.approx(20 * 2.15, rel=0.1), "ResNeXt-50 at 112 px"
    assert all(0 < graph.share_of_limit < 1.3 for graph in result.graphs.values())
    assert set(result.giga_operations_per_second) == {"fp32", "int8"}
    assert all(1 < rate < 1e6 for rate in result.giga_operations_per_second.values())
    assert 0.1 < result.gigabytes_per_second < 1e4
