"""`deepfake-triton capacity`, from the stored results to the table."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from capacity_figures import as_text, load_report
from paths import ROOT

from deepfake_triton import cli

pytestmark = pytest.mark.fast

RESULTS = ROOT / "benchmarks/results"
CPU, GPU = RESULTS / "2-core-avx2/load.json", RESULTS / "h100/fp16-one-client.jsonl"
LOCAL = RESULTS / "h100/fp16.jsonl"


def run(capsys: pytest.CaptureFixture[str], file: Path, rate: str, *options: str) -> tuple[int, str, str]:
    status = cli.main(["capacity", "--clips-per-second", rate, "--benchmark", str(file), *options])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def plan_of(capsys: pytest.CaptureFixture[str], file: Path, rate: str, *options: str) -> dict[str, Any]:
    status, out, err = run(capsys, file, rate, "--json", *options)
    assert (status, err) == (0, "")
    data = json.loads(out)
    assert data["schema_version"] == 1 and data["simulation"] is None
    plan: dict[str, Any] = data["plan"]
    return plan


def values(plan: dict[str, Any]) -> dict[str, float | None]:
    return {key: figure["value"] for key, figure in plan["figures"].items()}


def test_a_gpu_over_the_network(capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_of(capsys, GPU, "200", "--price-per-hour", "3", "--price-per-gigabyte", "0.01")
    assert (plan["transport"], plan["machine"]) == ("grpc", "NVIDIA H100 80GB HBM3, 16 CPU cores")
    found = values(plan)
    # 20.125 clips/s measured over gRPC at 8 callers; 80 % of it are 16.1, and 200 / 16.1 = 12.4.
    assert found["peak_per_replica"] == 20.125 and found["rate_per_replica"] == pytest.approx(16.1)
    assert (found["replicas"], found["gpus"]) == (14, 14)
    assert found["bytes_per_clip"] == pytest.approx(13.826756)
    assert found["network_gbit_per_second"] == pytest.approx(8 * 200 * 13_826_756 / 1e9)
    assert found["replica_hours_per_million"] == pytest.approx(14 * 1e6 / 200 / 3600)
    assert found["cost_per_million"] == pytest.approx(14 * 1e6 / 200 / 3600 * 3 + 13_826.756 * 0.01)
    peak = plan["figures"]["peak_per_replica"]["source"]
    assert "8 callers at once over grpc on NVIDIA H100" in peak and "fp16-one-client.jsonl" in peak
    assert found["full_queue_wait_s"] == pytest.approx(128 / 20.125), "an export for a GPU has a queue of 128"


def test_a_latency_objective_over_shared_memory(capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_of(capsys, LOCAL, "200", "--p99-ms", "150")
    found = values(plan)
    assert (found["rate_per_replica"], found["p99_ms"], found["replicas"]) == (75.633, 146.95, 4)
    notes = " ".join(plan["notes"])
    assert "Measured over shared-memory" in notes and "callers who wait for each answer" in notes
    assert "`--max-queue 7`" in notes, "96.623 × (150 ms less 70.54 of a lone clip)"


def test_a_cpu_with_steady_rates(capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_of(capsys, CPU, "10", "--p99-ms", "2000")
    found = values(plan)
    assert (found["rate_per_replica"], found["replicas"], found["gpus"], found["cpu_cores"]) == (
        1.454,
        8,
        0,
        16,
    )
    assert "1.454 requests/s" in plan["figures"]["rate_per_replica"]["source"]


def test_without_a_price_the_line_says_what_gives_it(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, GPU, "200")
    assert status == 0
    assert "| cost of replicas, a million clips | – | needs --price-per-hour |" in out
    assert "| cost of network, a million clips | – | needs --price-per-gigabyte |" in out
    assert "| replicas | 14 | 13 for the demand, 1 spare (N+1) |" in out
    assert "20 frames × 360 × 640 × 3 bytes" in out
    _, out, _ = run(capsys, GPU, "200", "--price-per-hour", "2.5")
    assert re.search(r"\| cost of a million clips \| 48\.6 \| replicas alone \|", out)


def test_jpeg_frames(capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_of(capsys, GPU, "200", "--jpeg-frame-bytes", "60K", "--frames", "10")
    assert values(plan)["bytes_per_clip"] == pytest.approx((10 * 60 * 1024 + 1396) / 1e6)


def test_a_simulated_day(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("simpy", reason="simpy is not installed: pip install 'deepfake-triton[capacity]'")
    options = ("--simulate", "--bursts", "2", "--price-per-hour", "3")
    status, out, _ = run(capsys, GPU, "60", *options)
    assert status == 1 and "The settings do not hold: fluid: " in out
    assert "ready 18 s after its creation (measured, without pulling an image: fp16-one-client.jsonl)" in out
    rows = re.findall(
        r"^\| (?:the day|around bursts) \| (fluid|event by event) \| ([\d.]+) %", out, re.MULTILINE
    )
    assert [model for model, _ in rows] == ["fluid", "fluid", "event by event"]
    assert float(rows[1][1]) == pytest.approx(float(rows[2][1]), abs=1.0)
    (least,) = re.findall(r"^--min-replicas (\d+) would hold\.$", out, re.MULTILINE)
    status, out, _ = run(capsys, GPU, "60", *options, "--min-replicas", least)
    assert status == 0 and out.endswith("The settings hold.\n")


def test_a_simulated_day_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--simulate", "--json", "--min-replicas", "120", "--price-per-hour", "2")
    status, out, _ = run(capsys, LOCAL, "10000", *options)
    simulated = json.loads(out)["simulation"]
    assert status == 0 and simulated["holds"] and simulated["broken"] == []
    assert [outcome["model"] for outcome in simulated["outcomes"]] == ["fluid", "fluid"], "over 1,000 clips/s"
    day = simulated["outcomes"][0]
    assert day["cost"] == pytest.approx(2 * day["replica_hours"]) and day["replica_hours"] == 120 * 24
    assert simulated["replica"] == {"clips_per_second": 96.623, "slots": 7, "max_queue": 128}
    assert simulated["autoscaler"]["start_s"] == 28 and simulated["autoscaler"]["target_pending"] == 32


def test_a_target_that_the_gauge_never_exceeds_is_pointed_out(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--simulate", "--max-queue", "16", "--target-pending", "15", "--min-replicas", "20")
    status, out, _ = run(capsys, LOCAL, "2000", *options)
    assert status == 1 and "nothing is ever added. Say --target-pending 4." in out
    assert re.search(r"\| the day \| fluid \| .* \| 20 \|", out)


def test_the_plan_needs_no_extra() -> None:
    code = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("simpy", "psutil", "torch", "onnx", "av", "grpc", "tritonclient", "rich"):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
from deepfake_triton import cli
arguments = ["capacity", "--clips-per-second", "200", "--benchmark", {str(GPU)!r}]
print(cli.main(arguments), cli.main([*arguments, "--simulate"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 1"
    assert done.stderr.endswith(" needs simpy: pip install 'deepfake-triton[capacity]'\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.json", "cannot be read"),
        ("verdict.json", "not the result of a benchmark"),
        ("compare.json", "got the benchmark 'compare'"),
        ("newer.json", "got schema version 7"),
        ("bare.json", "without 'closed_loop'"),
    ],
)
def test_what_is_no_benchmark_is_one_line_and_status_1(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, message: str
) -> None:
    bare = load_report()
    del bare["closed_loop"]
    contents = {
        "verdict.json": as_text({"verdict": "FAKE"}),
        "compare.json": (CPU.parent / "compare.json").read_text(),
        "newer.json": as_text(load_report(schema_version=7)),
        "bare.json": as_text(bare),
    }
    if name in contents:
        (tmp_path / name).write_text(contents[name])
    status, out, err = run(capsys, tmp_path / name, "10")
    assert (status, out) == (1, "") and message in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--p99-ms", "10"], "got a p99 of 10 ms, expected 98.05 ms or more"),
        (["--transport", "jpeg"], "no figures over jpeg"),
        (["--simulate", "--base-clips-per-second", "300"], "expected at most --clips-per-second 200"),
        (["--simulate", "--bursts", "100", "--burst-seconds", "1000"], "a day of them together at most"),
        (["--simulate", "--ramp-seconds", "200"], "at most half of --burst-seconds 300"),
        (["--simulate", "--min-replicas", "9", "--max-replicas", "8"], "expected at most --max-replicas 8"),
    ],
)
def test_options_that_contradict_are_one_line_and_status_1(
    capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    status, out, err = run(capsys, GPU, "200", *options)
    assert (status, out) == (1, "") and message in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--clips-per-second", value) for value in ("0", "-5", "nan", "inf", "1e9", "many")),
        *(("--utilization", value) for value in ("0", "1.2")),
        ("--p99-ms", "0"),
        ("--price-per-hour", "-1"),
        ("--max-queue", "0"),
        ("--refused-at-most", "-0.1"),
        ("--transport", "pigeon"),
        ("--frames", "65"),
    ],
)
def test_wrong_options_are_status_2(capsys: pytest.CaptureFixture[str], option: str, value: str) -> None:
    with pytest.raises(SystemExit) as caught:
        run(capsys, GPU, "10", f"{option}={value}")
    assert caught.value.code == 2 and f"argument {option}" in capsys.readouterr().err
