"""Results as JSON, as Markdown and as pictures: the tables are made from the JSON, never typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from deepfake_triton.benchmarks.environment import environment
from deepfake_triton.errors import InputError


def write_report(name: str, result: dict[str, Any], folder: Path) -> None:
    """`<name>.json`, `<name>.md` and `<name>.svg`. Raises InputError where they cannot be written."""
    full = {"benchmark": name, "environment": environment(), **result}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(full, indent=1) + "\n")
        (folder / f"{name}.md").write_text(markdown(name, full))
        _plot(name, full, folder / f"{name}.svg")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error}") from error


def markdown(name: str, result: dict[str, Any]) -> str:
    """The table of a result, and on what it was measured."""
    rows = {"stages": _stages, "load": _load, "compare": _compare, "limit": _limit}[name](result)
    on = result["environment"]
    instructions = ", ".join(on["instructions"]) or "none of note"
    versions = ", ".join(f"{key} {value}" for key, value in on["versions"].items())
    about = (
        f"Measured on {on['cpu']}, {on['cores']} cores ({instructions}), load {on['load_average'][0]}, "
        f"commit {on['commit']}, {versions}."
    )
    return "\n".join([f"# {name}", "", about, "", *rows, ""])


def _table(head: list[str], rows: list[list[Any]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(str(cell) for cell in line)} |" for line in lines]


def _stages(result: dict[str, Any]) -> list[str]:
    total = result["total_ms"]
    rows = [[stage, value, f"{value / total:.1%}"] for stage, value in result["median_ms"].items()]
    rows.append(["unexplained", result["unexplained_ms"], f"{result['unexplained_ms'] / total:.1%}"])
    rows.append(["**end to end**", total, ""])
    count = len(result["samples"])
    head = f"{result['video']}, {result['frames']} frames, by {result['transport']}; medians of {count}."
    return [head, "", *_table(["stage", "ms", "share"], rows)]


def _load(result: dict[str, Any]) -> list[str]:
    closed = [
        [
            each["callers"],
            each["throughput_a_second"],
            each.get("p50_ms", ""),
            each.get("p95_ms", ""),
            each.get("p99_ms", ""),
            each["refused"],
            ", ".join(f"{size}×{count}" for size, count in each["batches"]["face_detector"].items()),
            each["usage"].get("server", {}).get("memory_mib", ""),
        ]
        for each in result["closed_loop"]
    ]
    opened = [
        [each["rate_a_second"], each["goodput_a_second"], each.get("p50_ms", ""), each.get("p95_ms", ""),
         ", ".join(f"{name} {count}" for name, count in each["outcomes"].items())]
        for each in result["open_loop"]
    ]  # fmt: skip
    lines = _table(
        [
            "callers",
            "clips a second",
            "p50 ms",
            "p95 ms",
            "p99 ms",
            "refused",
            "detector: frames×batches",
            "server MiB",
        ],
        closed,
    )
    lines += ["", *_table(["requests a second", "answered a second", "p50 ms", "p95 ms", "outcomes"], opened)]
    if result.get("perf_analyzer"):
        rows = [
            [
                each["callers"],
                each["perf_analyzer_a_second"],
                each["ours_a_second"],
                f"{each['difference']:+.0%}",
            ]
            for each in result["perf_analyzer"]
        ]
        lines += ["", *_table(["callers", "perf_analyzer, a second", "ours", "difference"], rows)]
    elif result.get("perf_analyzer_reason"):
        lines += ["", f"perf_analyzer was not run: {result['perf_analyzer_reason']}."]
    return lines


def _compare(result: dict[str, Any]) -> list[str]:
    rows = []
    for name, each in result["paths"].items():
        throughput = each.get("throughput_a_second", [])
        rows.append(
            [
                name,
                "yes" if each["same_verdict"] else f"**no** ({each['probability']})",
                each["latency"]["median_ms"],
                each.get("reference_is_faster", {}).get("text", "–"),
                f"{sorted(throughput)[len(throughput) // 2]:.2f}" if throughput else "–",
                each.get("reference_throughput", {}).get("text", "–"),
            ]
        )
    head = [
        *("path", "same verdict", "ms", "times as long as this server"),
        *(f"clips a second, {result['callers']} callers", "this server's throughput, times"),
    ]
    return [*_table(head, rows), "", "In brackets: 95 % intervals, by bootstrap over the turns."]


def _limit(result: dict[str, Any]) -> list[str]:
    rates = ", ".join(f"{value} billion operations a second in {name}" for name, value in
                      result["giga_operations_a_second"].items())  # fmt: skip
    rows = [
        [
            *(name, each["precision"], each["giga_operations"], each["weight_mb"], each["measured_ms"]),
            *(each["limit_ms"], each["bound_by"], f"{each['share_of_limit']:.0%}"),
        ]
        for name, each in result["graphs"].items()
    ]
    head = [
        "graph",
        "precision",
        "10⁹ operations",
        "weights MB",
        "measured ms",
        "limit ms",
        "bound by",
        "of the limit",
    ]
    return [f"{rates}; {result['gigabytes_a_second']} GB a second.", "", *_table(head, rows)]


def _plot(name: str, result: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    if name == "load":
        points = [(each["throughput_a_second"], each["p50_ms"], each["p95_ms"], each["callers"])
                  for each in result["closed_loop"] if "p50_ms" in each]  # fmt: skip
        for column, label in ((1, "p50"), (2, "p95")):
            axes.plot(
                [each[0] for each in points], [each[column] for each in points], marker="o", label=label
            )
        for throughput, _, high, callers in points:
            axes.annotate(
                f"{callers}", (throughput, high), textcoords="offset points", xytext=(4, 4), fontsize=8
            )
        axes.set(
            xlabel="clips a second", ylabel="latency, ms", title="latency against throughput, by callers"
        )
        axes.legend()
    else:
        values = _bars(name, result)
        axes.barh(list(values)[::-1], list(values.values())[::-1], color="#2c7fb8")
        axes.set_xlabel("% of the machine's limit" if name == "limit" else "ms")
        axes.set_title(
            {"stages": "where a clip's time goes", "compare": "one caller, one clip", "limit": ""}[name]
        )
    axes.grid(alpha=0.25)
    figure.savefig(path, metadata={"Date": None})


def _bars(name: str, result: dict[str, Any]) -> dict[str, float]:
    if name == "stages":
        return dict(result["median_ms"])
    if name == "compare":
        return {path: each["latency"]["median_ms"] for path, each in result["paths"].items()}
    return {graph: 100 * each["share_of_limit"] for graph, each in result["graphs"].items()}
