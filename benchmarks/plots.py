"""Results as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deepfake_triton.errors import MissingDependency

_BLUE, _GREY, _RED = "#2c7fb8", "#9aa0a6", "#c0392b"


def plot(name: str, result: dict[str, Any], path: Path) -> None:
    """Write an SVG. Raises MissingDependency without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependency("plots need matplotlib: pip install 'deepfake-triton[bench]'") from error
    rows = len(result["paths"]) if name == "compare" else 0
    size = (11 if name == "compare" else 9, max(4.5, 0.36 * rows + 1.2))
    figure = Figure(figsize=size, layout="constrained")
    draw = {"stages": _stages, "load": _load, "compare": _compare, "limit": _limit, "gpu": _gpu}[name]
    draw(figure, result)
    for axis in figure.axes:
        axis.grid(alpha=0.25)
    figure.savefig(path, metadata={"Date": None})


def _stages(figure: Any, result: dict[str, Any]) -> None:
    axis, values = figure.subplots(), result["median_ms"]
    axis.barh(list(values)[::-1], list(values.values())[::-1], color=_BLUE)
    axis.set(xlabel="ms", title=f"where the {result['total_ms']:.0f} ms of a clip go")


def _limit(figure: Any, result: dict[str, Any]) -> None:
    axis, graphs = figure.subplots(), result["graphs"]
    axis.barh(
        list(graphs)[::-1], [100 * graphs[name]["share_of_limit"] for name in graphs][::-1], color=_BLUE
    )
    axis.axvline(100, color=_GREY, linestyle="--")
    axis.set(xlabel="% of the machine's measured limit", title="how far each graph is from the limit")


def _load(figure: Any, result: dict[str, Any]) -> None:
    axis = figure.subplots()
    points = [each for each in result["closed_loop"] if "p50_ms" in each]
    for label in ("p50", "p95", "p99"):
        axis.plot(
            [each["throughput_a_second"] for each in points],
            [each[f"{label}_ms"] for each in points],
            marker="o",
            label=label,
        )
    for each in points:
        place = (each["throughput_a_second"], each["p99_ms"])
        axis.annotate(str(each["callers"]), place, textcoords="offset points", xytext=(4, 4), fontsize=8)
    axis.set(
        xlabel="clips a second", ylabel="ms", title="latency against throughput, by callers", ylim=(0, None)
    )
    axis.legend()


def _compare(figure: Any, result: dict[str, Any]) -> None:
    """Both ratios with their intervals; grey where the interval holds 1."""
    left, right = figure.subplots(1, 2, sharey=True)
    names = [name for name in result["paths"] if "reference_throughput" in result["paths"][name]][::-1]
    for axis, key, title in (
        (left, "reference_is_faster", "one caller: times as long as this server"),
        (right, "reference_throughput", f"{result['callers']} callers: this server's throughput, times"),
    ):
        for row, name in enumerate(names):
            ratio = result["paths"][name].get(key)
            if ratio is None:
                continue
            same = ratio["low"] <= 1 <= ratio["high"]
            colour = _GREY if same else _BLUE if ratio["ratio"] > 1 else _RED
            axis.plot([ratio["low"], ratio["high"]], [row, row], color=colour, linewidth=2)
            axis.plot(ratio["ratio"], row, marker="o", color=colour)
        axis.axvline(1, color="black", linewidth=0.8)
        axis.set_xscale("log")
        axis.set_xticks((0.5, 1, 2, 5, 10, 20, 50))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter("")
        axis.set_title(title, fontsize=9)
    left.set_yticks(range(len(names)), names)
    figure.supxlabel("right of 1, this server is faster; grey: no difference", fontsize=9)


def _gpu(figure: Any, result: dict[str, Any]) -> None:
    """Rows a second against the batch, for each network; FP16 dashed."""
    axes = figure.subplots(1, len(result["networks"]), squeeze=False)[0]
    for axis, (network, rows) in zip(axes, result["networks"].items(), strict=True):
        points: dict[tuple[str, str], list[tuple[int, float]]] = {}
        for row in rows:
            if "rows_a_second" in row:
                points.setdefault((row["runtime"], row["precision"]), []).append(
                    (row["batch"], row["rows_a_second"])
                )
        colours: dict[str, str] = {}
        for (runtime, precision), line in points.items():
            colour = colours.setdefault(runtime, f"C{len(colours)}")
            style = "--" if precision == "fp16" else "-"
            axis.plot(
                *zip(*line, strict=True), style, color=colour, marker=".", label=f"{runtime}, {precision}"
            )
        axis.set(xlabel="batch", title=network, xscale="log", yscale="log")
    axes[0].set_ylabel("rows a second")
    axes[0].legend(fontsize=7)
