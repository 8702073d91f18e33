"""The change of probabilities on labeled clips by each library's INT8, and the cost of building it."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from deepfake_triton.benchmarks.int8_libraries.workspace import Workspace
from deepfake_triton.benchmarks.suite.benchmark import markdown_table
from deepfake_triton.export.parity.accuracy_gate import GateClips, measure_accuracy
from deepfake_triton.json_object import JsonObject
from deepfake_triton.models.metadata import ModelMetadata
from deepfake_triton.models.runtimes.base import Feed, Runner
from deepfake_triton.models.runtimes.onnx_runner import OnnxRunner
from deepfake_triton.models.stages import Stages
from deepfake_triton.repository.report_sections import GateReport

_BUILDERS = "deepfake_triton.benchmarks.int8_libraries.builders"


@dataclass(frozen=True)
class LibraryResult:
    """One row of the comparison: `accuracy` against FP32, or None and the `error` of the library.

    `build_seconds` is wall time, `cpu_seconds` of all cores: compare the latter where other programs ran.
    """

    library: str
    accuracy: GateReport | None
    build_seconds: float
    cpu_seconds: float
    error: str | None = None

    def to_json(self) -> JsonObject:
        """Return the JSON form."""
        return asdict(self)


class CachedRunner:
    """A runner that computes each feed once: the reference is the same for every library."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._answers: dict[tuple[bytes, ...], Feed] = {}

    @property
    def runtime(self) -> str:
        """See Runner."""
        return self._runner.runtime

    def infer(self, feed: Feed) -> Feed:
        """See Runner."""
        key = tuple(part for name in sorted(feed) for part in (name.encode(), feed[name].tobytes()))
        if key not in self._answers:
            self._answers[key] = self._runner.infer(feed)
        return self._answers[key]


def compare_library(
    library: str,
    workspace: Workspace,
    clips: GateClips,
    *,
    metadata: ModelMetadata,
    reference: Stages[Runner],
    timeout_s: float,
) -> LibraryResult:
    """Build a library's graphs in a process of its own, and score the clips with them and the reference."""
    graphs = workspace.int8(library)
    graphs.detector.parent.mkdir(parents=True, exist_ok=True)
    started, before = time.monotonic(), _children_cpu_seconds()
    error = _run_builder(library, workspace, timeout_s)
    seconds, cpu_seconds = time.monotonic() - started, _children_cpu_seconds() - before
    if error:
        return LibraryResult(library, None, seconds, cpu_seconds, error)
    exported: Stages[Runner] = graphs.map(OnnxRunner)
    accuracy = measure_accuracy(clips, metadata, reference=reference, exported=exported)
    return LibraryResult(library, accuracy, seconds, cpu_seconds)


def results_table(results: Sequence[LibraryResult]) -> str:
    """Return the results as a Markdown table."""
    head = ["", "mean change", "largest", "flips", "AUC (FP32)", "build, s", "CPU time, s"]
    return "\n".join(markdown_table(head, [_table_row(result) for result in results]))


def _table_row(result: LibraryResult) -> list[str]:
    report = result.accuracy
    if report is None:
        cells = [str(result.error), "", "", ""]
    else:
        cells = [
            f"{report.mean_difference:.4f}",
            f"{report.worst_difference:.3f}",
            f"{round(report.flipped * report.clips)} of {report.clips}",
            f"{report.auc:.4f} ({report.reference_auc:.4f})",
        ]
    return [result.library, *cells, f"{result.build_seconds:.0f}", f"{result.cpu_seconds:.0f}"]


def _run_builder(library: str, workspace: Workspace, timeout_s: float) -> str | None:
    """Return what went wrong, or None."""
    command = [sys.executable, "-m", _BUILDERS, library, str(workspace.folder)]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return f"took more than {timeout_s:.0f} s"
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    if done.returncode == 0:
        return None
    return lines[-1].replace("|", "/")[:200] if lines else f"exit status {done.returncode}"


def _children_cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
