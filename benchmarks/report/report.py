"""Reports: a result with its environment, as JSON, and the Markdown and the plot that are made from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepfake_triton.benchmarks.measure.environment import Environment
from deepfake_triton.benchmarks.report.targets import targets, targets_table
from deepfake_triton.benchmarks.suite.benchmark import SCHEMA_VERSION, Result
from deepfake_triton.benchmarks.suite.registry import BENCHMARKS
from deepfake_triton.errors import InputError, MissingDependency
from deepfake_triton.json_object import JsonObject


@dataclass(frozen=True)
class Report:
    """One result, and the environment before anything was measured."""

    benchmark: str
    """Its name in BENCHMARKS."""
    environment: Environment
    result: Result

    def to_json(self) -> JsonObject:
        """Return the JSON form: the result's keys beside those of the report."""
        return {
            "benchmark": self.benchmark,
            "schema_version": SCHEMA_VERSION,
            "environment": self.environment.to_json(),
            **self.result.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Report:
        """Read the JSON form. Raises InputError for a newer schema, or where a key is missing."""
        if (version := data.get("schema_version", SCHEMA_VERSION)) > SCHEMA_VERSION:
            raise InputError(f"result of schema version {version}, expected at most {SCHEMA_VERSION}")
        try:
            name = data["benchmark"]
            result = BENCHMARKS[name].result_from_json(data)
            return cls(name, Environment.from_json(data["environment"]), result)
        except KeyError as error:
            raise InputError(f"not the result of a benchmark: {error} is missing or unknown") from error

    def markdown(self) -> str:
        """Return the result's table, with a sentence on what it was measured on."""
        lines = [f"# {self.benchmark}", "", self.environment.summary, "", *self.result.table()]
        return "\n".join([*lines, "", f"![{self.benchmark}]({self.benchmark}.svg)", ""])

    def save_plot(self, path: Path) -> None:
        """Write an SVG. Raises MissingDependency without matplotlib."""
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingDependency("plots need matplotlib: pip install 'deepfake-triton[bench]'") from error
        figure = Figure(figsize=(9, 4.5), layout="constrained")
        self.result.plot(figure)
        for axis in figure.axes:
            axis.grid(alpha=0.25)
        figure.savefig(path, metadata={"Date": None})


def write_report(report: Report, folder: Path) -> None:
    """Write `<name>.json`, `<name>.md` and `<name>.svg`, and `targets.md` of all results in the folder.

    Raises InputError where they cannot be written.
    """
    name = report.benchmark
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(report.to_json(), indent=1) + "\n")
        (folder / f"{name}.md").write_text(report.markdown())
        report.save_plot(folder / f"{name}.svg")
        results = [each.result for each in read_reports(folder).values()]
        table = targets_table(targets(results, report.environment))
        (folder / "targets.md").write_text("\n".join(["# targets", "", *table, ""]))
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error}") from error


def read_reports(folder: Path) -> dict[str, Report]:
    """Return the reports in a folder by name, of the machine that was measured last.

    Raises InputError for a file that is no report.
    """
    reports = {}
    for name in sorted(BENCHMARKS):
        path = folder / f"{name}.json"
        if path.is_file():
            try:
                reports[name] = Report.from_json(json.loads(path.read_text()))
            except (ValueError, InputError) as error:
                raise InputError(f"{path}: {error}") from error
    if not reports:
        return {}
    newest = max(reports.values(), key=lambda report: report.environment.time or "").environment
    return {
        name: report
        for name, report in reports.items()
        if (report.environment.cpu, report.environment.cores) == (newest.cpu, newest.cores)
    }
