from __future__ import annotations

from typing import Any

import pytest

from deepfake_triton.benchmarks.names import FASTAPI_BATCHING, PROCESS, PROCESS_BATCHES, PUBLISHED, REFERENCE
from deepfake_triton.benchmarks.samples import ratio_of
from deepfake_triton.benchmarks.targets import Target, targets


def compared(**throughputs: list[float]) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for name, own in throughputs.items():
        paths[name] = {"throughput_a_second": own, "callers": 8}
        if name != REFERENCE:
            paths[name]["reference_throughput"] = ratio_of(throughputs[REFERENCE], own).as_dict()
    return {"paths": paths, "callers": 8}


def graph(measured_ms: float, limit_ms: float) -> dict[str, Any]:
    return {
        "measured_ms": measured_ms,
        "limit_ms": limit_ms,
        "share_of_limit": limit_ms / measured_ms,
        "bound_by": "compute",
    }


def by_aim(found: list[Target], words: str) -> Target:
    (target,) = [each for each in found if words in each.aim]
    return target


def test_a_missed_throughput_names_the_network_that_holds_it() -> None:
    ones = {REFERENCE: [2.0] * 5, PUBLISHED: [0.1] * 5, PROCESS: [2.1] * 5, PROCESS_BATCHES: [1.9] * 5}
    limit = {"graphs": {"face_detector": graph(100, 50), "feature_extractor": graph(300, 200)}}
    found = targets({"compare": compared(**ones), "limit": limit})
    missed = by_aim(found, "published")
    assert not missed.met and missed.found.startswith("20.00")
    assert "feature_extractor, 300 ms, 67% of the limit" in missed.holds
    assert "(250 ms a clip) 40.0 times" in missed.holds
    process = by_aim(found, "one process")
    assert process.met and process.found.startswith("0.95 "), "of the better of the two"
    assert by_aim(found, "face_detector at").met
    assert [each.met for each in found if "published" not in each.aim] == [True] * 3


@pytest.mark.parametrize(
    ("peer", "met"), [([2.0, 2.02, 1.98], True), ([3.0, 3.1, 3.05], False), ([1.0, 2.0, 3.0], None)]
)
def test_no_slower_is_decided_by_the_interval(peer: list[float], met: bool | None) -> None:
    ones = {REFERENCE: [2.0, 1.99, 2.01], PROCESS: [1.0] * 3, FASTAPI_BATCHING: peer}
    assert by_aim(targets({"compare": compared(**ones)}), "micro-batching").met is met


def test_too_much_beside_the_networks_names_the_stage() -> None:
    stages = {
        "not_networks_share": 0.4,
        "total_ms": 100.0,
        "median_ms": {"decode": 10.0, "scale": 30.0, "feature_extractor": 60.0},
    }
    (target,) = targets({"stages": stages})
    assert not target.met and target.found == "40%" and target.holds == "scale, 30.0 ms of 100.0"


def test_nothing_measured_is_nothing_claimed() -> None:
    assert targets({}) == []
