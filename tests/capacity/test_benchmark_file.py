from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from capacity_figures import GPU, as_text, environment, load_report
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from paths import ROOT

from deepfake_triton.capacity.benchmark_file import load_figures_from_text, read_load_figures
from deepfake_triton.capacity.load_figures import TRANSPORTS, LoadPoint, of_transport
from deepfake_triton.errors import InvalidBenchmark

pytestmark = pytest.mark.fast

RESULTS = ROOT / "benchmarks/results"


def line(what: str, **figures: Any) -> dict[str, Any]:
    return {"what": what, "repository": "fp16", **figures}


def load_line(transport: str = "grpc", **changes: Any) -> dict[str, Any]:
    values = {
        "frames": 20,
        "callers": 8,
        "throughput_a_second": 50.0,
        "p50_ms": 150.0,
        "p95_ms": 200.0,
        "p99_ms": 220.0,
        "refused": 0,
    }
    return line("load", transport=transport, **{**values, **changes})


def gpu_day(*lines: dict[str, Any]) -> str:
    return "\n".join(map(as_text, (line("environment", **environment(GPU).to_json()), *lines)))


def test_a_report_of_bench_load() -> None:
    (figures,) = load_figures_from_text(as_text(load_report()), "somewhere/load.json")
    assert (figures.source, figures.transport, figures.frames) == ("load.json", "grpc", 16)
    assert figures.points == (
        LoadPoint(10.0, 90.0, 120.0, 0, callers=1),
        LoadPoint(7.9, 95.0, 150.0, 0, requests_per_second=8.0),
    )
    assert figures.environment == environment() and figures.machine == "8 cores of AMD EPYC, no GPU"


def test_stored_results_of_a_cpu() -> None:
    (figures,) = read_load_figures(RESULTS / "2-core-avx2/load.json")
    assert (figures.transport, figures.frames, figures.environment.cores) == ("auto", 20, 2)
    assert (figures.peak.callers, figures.peak.clips_per_second, figures.peak.p99_ms) == (4, 1.818, 3014.75)
    assert figures.lightest.callers == 1
    refused = [point for point in figures.points if point.failed]
    assert [(point.callers, point.requests_per_second) for point in refused] == [(32, None), (None, 3.636)]


def test_stored_results_of_a_gpu() -> None:
    measured = read_load_figures(RESULTS / "h100/fp16-one-client.jsonl")
    assert [figures.transport for figures in measured] == ["shared-memory", "grpc"]
    figures = of_transport(measured, None)
    assert figures.transport == "grpc", "what reaches other hosts comes first"
    assert (figures.peak.callers, figures.peak.clips_per_second) == (8, 20.125)
    assert (figures.start_s, figures.frames) == (18.2, 20)
    assert figures.machine == "NVIDIA H100 80GB HBM3, 16 CPU cores"
    assert of_transport(measured, "shared-memory").peak.clips_per_second == 76.04
    with pytest.raises(
        InvalidBenchmark, match=r"no figures over jpeg, only over shared-memory, grpc; .*jpeg`"
    ):
        of_transport(measured, "jpeg")


def test_of_runs_in_one_file_the_last_counts() -> None:
    text = gpu_day(load_line(throughput_a_second=50.0), line("started", seconds=9.0))
    later = gpu_day(line("started", seconds=30.0), load_line(throughput_a_second=60.0))
    (figures,) = load_figures_from_text(f"{text}\n\n{later}\n", "run.jsonl")
    assert [point.clips_per_second for point in figures.points] == [60.0] and figures.start_s == 30.0


def test_loads_that_were_not_measured_are_left_out() -> None:
    failed = line("load", transport="grpc", callers=8, reason="the server ended")
    unanswered = load_line(throughput_a_second=0.0)
    (figures,) = load_figures_from_text(gpu_day(failed, unanswered, load_line(callers=2)), "run.jsonl")
    assert [point.callers for point in figures.points] == [2]


@pytest.mark.parametrize("name", ["compare", "stages", "limit"])
def test_other_benchmarks_are_named(name: str) -> None:
    with pytest.raises(InvalidBenchmark, match=rf"got the benchmark '{name}', expected `load`"):
        read_load_figures(RESULTS / f"2-core-avx2/{name}.json")


@pytest.mark.parametrize("name", ["networks-fp16", "networks-fp32", "training"])
def test_figures_without_load_say_so(name: str) -> None:
    with pytest.raises(InvalidBenchmark, match="got no load point"):
        read_load_figures(RESULTS / f"h100/{name}.jsonl")


def with_point(**changes: Any) -> dict[str, Any]:
    report = load_report()
    return {**report, "closed_loop": [{**report["closed_loop"][0], **changes}]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "not the result", id="empty"),
        pytest.param("\x00\x01", "no JSON", id="bytes"),
        pytest.param("[" * 100_000, "no JSON", id="deep"),
        pytest.param("[1, 2]", "not the result", id="list"),
        pytest.param("3", "not the result", id="number"),
        pytest.param('{"verdict": "FAKE"}', "not the result", id="other-object"),
        pytest.param('{"what": "load"}', "without their environment", id="no-environment"),
        pytest.param(as_text(load_report(schema_version=2)), "got schema version 2", id="newer"),
        pytest.param(as_text(load_report(schema_version="x")), "got schema version 'x'", id="odd-version"),
        pytest.param(
            as_text(load_report(benchmark=["load"])), r"got the benchmark \['load'\]", id="odd-name"
        ),
        pytest.param(as_text(load_report(transport="pigeon")), "transport 'pigeon'", id="transport"),
        pytest.param(as_text(load_report(closed_loop=None)), "malformed", id="null-points"),
        pytest.param(as_text(load_report(environment={})), "without 'cpu'", id="bare-environment"),
        pytest.param(as_text(load_report(closed_loop=[], open_loop=[])), "no load point", id="no-points"),
        pytest.param(as_text(with_point(throughput_a_second=-1.0)), "got -1.0", id="negative"),
        pytest.param(as_text(with_point(throughput_a_second=float("nan"))), "got nan", id="nan"),
        pytest.param(as_text(with_point(throughput_a_second=float("inf"))), "got inf", id="infinite"),
        pytest.param(as_text(with_point(throughput_a_second="9")), "got '9'", id="text"),
        pytest.param(as_text(with_point(throughput_a_second=True)), "got True", id="boolean"),
        pytest.param(as_text(with_point(p50_ms=0)), "latencies of 0.0 ms", id="no-time"),
        pytest.param(as_text(with_point(p99_ms=1.0)), "latencies of 90.0 ms", id="p99-under-p50"),
        pytest.param(as_text(with_point(callers=0)), "got 0, expected 1 or more", id="nobody"),
        pytest.param(as_text(with_point(refused=0.5)), "expected a whole number", id="half-refused"),
    ],
)
def test_what_is_no_benchmark_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidBenchmark, match=rf"(?s)^load\.json: .*{message}"):
        load_figures_from_text(text, "load.json")


@pytest.mark.parametrize("key", ["environment", "transport", "closed_loop", "open_loop"])
def test_missing_keys_are_named(key: str) -> None:
    report = load_report()
    del report[key]
    with pytest.raises(InvalidBenchmark, match=f"got load figures without '{key}'"):
        load_figures_from_text(as_text(report), "load.json")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    for name in ("missing.json", ".", "binary.json"):
        with pytest.raises(InvalidBenchmark, match="cannot be read"):
            read_load_figures(tmp_path / name)


NUMBERS = st.floats(0.001, 1e6, allow_nan=False)


@given(
    rate=NUMBERS,
    p50_ms=NUMBERS,
    slower=st.floats(1, 100),
    transport=st.sampled_from(TRANSPORTS),
    callers=st.integers(1, 1000),
    refused=st.integers(0, 10**6),
)
def test_what_was_written_is_read(
    rate: float, p50_ms: float, slower: float, transport: str, callers: int, refused: int
) -> None:
    values = {"p50_ms": p50_ms, "p95_ms": p50_ms, "p99_ms": p50_ms * slower}
    expected = LoadPoint(rate, p50_ms, p50_ms * slower, refused, callers)
    report = with_point(callers=callers, throughput_a_second=rate, refused=refused, **values)
    (figures,) = load_figures_from_text(as_text({**report, "transport": transport}), "load.json")
    assert figures.points[0] == expected and figures.transport == transport
    of_line = load_line(transport, callers=callers, throughput_a_second=rate, refused=refused, **values)
    (figures,) = load_figures_from_text(gpu_day(of_line), "run.jsonl")
    assert figures.points == (expected,)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inner for place in places(item, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    changed = copy.copy(value)
    changed[path[0]] = replaced(value[path[0]], path[1:], new)
    return changed


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), new=JSON_VALUES, as_lines=st.booleans())
def test_any_other_value_at_any_place_is_read_or_refused(
    data: st.DataObject, new: Any, as_lines: bool
) -> None:
    whole: Any = load_report()
    if as_lines:
        whole = [json.loads(text) for text in gpu_day(line("started", seconds=9.0), load_line()).splitlines()]
    changed = replaced(whole, data.draw(st.sampled_from(places(whole))), new)
    items = changed if as_lines and isinstance(changed, list) else [changed]
    try:
        found = load_figures_from_text("\n".join(map(as_text, items)), "load.json")
    except InvalidBenchmark as error:
        assert str(error).startswith("load.json: ")
        return
    for figures in found:
        assert figures.transport in TRANSPORTS and figures.points
        assert all(0 < point.clips_per_second < 1e300 for point in figures.points)
        assert all(0 < point.p50_ms <= point.p99_ms for point in figures.points)


@given(text=st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    with pytest.raises(InvalidBenchmark):
        load_figures_from_text(text, "load.json")
