"""Results as JSON and as Markdown: the tables are made from the JSON, never typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from deepfake_triton.benchmarks.names import REFERENCE
from deepfake_triton.benchmarks.plots import plot
from deepfake_triton.benchmarks.targets import targets
from deepfake_triton.errors import InputError


def write_report(name: str, on: dict[str, Any], result: dict[str, Any], folder: Path) -> None:
    """`<name>.json`, `<name>.md` and `<name>.svg`; `on` is the environment before anything was measured.

    Raises InputError where they cannot be written.
    """
    full = {"benchmark": name, "environment": on, **result}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(full, indent=1) + "\n")
        (folder / f"{name}.md").write_text(markdown(name, full))
        plot(name, full, folder / f"{name}.svg")
        (folder / "targets.md").write_text(targets_markdown(results_in(folder)))
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error}") from error


def markdown(name: str, result: dict[str, Any]) -> str:
    """The table of a result, and on what it was measured."""
    lines = [f"# {name}", "", measured_on(result["environment"]), "", *table_of(name, result)]
    return "\n".join([*lines, "", f"![{name}]({name}.svg)", ""])


def table_of(name: str, result: dict[str, Any]) -> list[str]:
    """The lines of a result's table."""
    return _TABLES[name](result)


def measured_on(on: dict[str, Any]) -> str:
    """The environment in a sentence."""
    instructions = ", ".join(on["instructions"]) or "none of note"
    versions = ", ".join(f"{key} {value}" for key, value in on["versions"].items())
    return (
        f"Measured on {on['cpu']}, {on['cores']} cores ({instructions}), load {on['load_average'][0]}, "
        f"commit {on['commit']}, {versions}."
    )


def results_in(folder: Path) -> dict[str, dict[str, Any]]:
    """What a folder holds, by the benchmark's name; of several machines, the one measured last."""
    paths = [path for name in _TABLES if (path := folder / f"{name}.json").is_file()]
    found = {path.stem: json.loads(path.read_text()) for path in sorted(paths, key=lambda each: each.name)}
    if not found:
        return {}
    newest = max(found.values(), key=lambda each: str(each["environment"].get("time", "")))["environment"]
    return {
        name: each
        for name, each in found.items()
        if all(each["environment"][key] == newest[key] for key in ("cpu", "cores"))
    }


def targets_markdown(results: dict[str, dict[str, Any]]) -> str:
    """What is aimed at, against what the folder's results say."""
    return "\n".join(["# targets", "", *targets_table(results), ""])


_REACHED = {True: "yes", False: "**no**", None: "undecided"}


def targets_table(results: dict[str, dict[str, Any]]) -> list[str]:
    """A line for each aim."""
    rows = [[each.aim, each.found, _REACHED[each.met], each.holds] for each in targets(results)]
    return _table(["aim", "measured", "reached", "what holds it"], rows)


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
        latency = each.get("latency", {}).get("median_ms")
        rows.append(
            [
                name,
                "yes" if each["same_verdict"] else f"**no** ({each['probability']})",
                f"{latency:.0f}" if latency else "–",
                each.get("reference_is_faster", {}).get("text", "–"),
                each["callers"],
                f"{median(each['throughput_a_second']):.2f}",
                each.get("reference_throughput", {}).get("text", "–"),
            ]
        )
    head = [
        *("path", "same verdict", "ms", "times as long as this server", "callers", "clips a second"),
        "this server's throughput, times",
    ]
    clip = f"{result['video']}, {result['frames']} frames"
    turns = len(result["paths"][REFERENCE]["throughput_a_second"])
    about = f"{clip}. In brackets: 95 % intervals, by bootstrap over the turns ({turns} for throughput)."
    left_out = [f"- {name} is left out: {reason}" for name, reason in result.get("left_out", {}).items()]
    return [about, "", *_table(head, rows), *(["", *left_out] if left_out else [])]


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


def _gpu(result: dict[str, Any]) -> list[str]:
    lines = [f"On {result['device']}, from array to array with the copies between; rows a second."]
    head = ["runtime", "precision", *(f"batch {batch}" for batch in result["batches"])]
    for network, rows in result["networks"].items():
        table: dict[tuple[str, str], dict[int, str]] = {}
        reasons: dict[str, None] = {}
        for row in rows:
            cells = table.setdefault((row["runtime"], row["precision"]), {})
            if "reason" in row:
                reasons[f"{row['runtime']}, {row['precision']}: {row['reason']}"] = None
            else:
                cells[row["batch"]] = f"{row['rows_a_second']:.0f}"
        filled = [
            [*key, *(cells.get(batch, "–") for batch in result["batches"])] for key, cells in table.items()
        ]
        lines += ["", f"## {network}", "", *_table(head, filled)]
        lines += ["", *(f"- {reason}" for reason in reasons)] if reasons else []
    return lines


_TABLES: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "stages": _stages,
    "load": _load,
    "compare": _compare,
    "limit": _limit,
    "gpu": _gpu,
}
