from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deepfake_triton import cli
from deepfake_triton.benchmarks.report.report import Report
from deepfake_triton.benchmarks.suite.scaling import FACTORS, ScalingResult, doubling


@pytest.mark.triton
def test_one_factor_changes_at_a_time(bench: Callable[..., Report]) -> None:
    values = {"callers": "1,2", "frames": "8,32", "faces": "1,3", "lines": "180,360", "cores": "1"}
    options = [word for factor, named in values.items() for word in (f"--{factor}", named)]
    report = bench("scaling", "--seconds", "0.3", *options)
    result = report.result
    assert isinstance(result, ScalingResult) and tuple(values) == FACTORS
    for factor, named in values.items():
        points = result.of_factor(factor)
        assert [str(point.value) for point in points] == named.split(",")
        for point in points:
            assert point.clips_per_second > 0 and point.latency and point.refused == 0
            assert point.server_cpu_s_per_clip > 0
            assert point.faces_found == (point.value if factor == "faces" else 1)
    short, long = result.of_factor("frames")
    assert long.server_cpu_s_per_clip > 2 * short.server_cpu_s_per_clip
    assert ScalingResult.from_json(result.to_json()) == result
    assert report.markdown().count("| frames |") == 2


@pytest.mark.fast
@pytest.mark.parametrize(
    ("cores", "values"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (64, [1, 2, 4, 8, 16, 32, 64])]
)
def test_cores_are_doubled_up_to_all(cores: int, values: list[int]) -> None:
    assert doubling(cores) == values


@pytest.mark.fast
@pytest.mark.parametrize(
    "value", ["--faces=0", "--faces=9", "--frames=65", "--cores=0", "--cores=4096", "--callers=x"]
)
def test_a_value_that_cannot_be_measured_is_refused_before_minutes_of_others(
    value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["bench", "scaling", str(tmp_path), value])
    assert f"argument {value.partition('=')[0]}: got" in capsys.readouterr().err
