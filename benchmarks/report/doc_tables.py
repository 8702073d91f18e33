"""Fill the result blocks of a Markdown file from stored results, between marks that name their folder.

Run: python -m deepfake_triton.benchmarks.report.doc_tables docs/guides/benchmarks.md, or docs/guides/gpu.md.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from deepfake_triton.benchmarks.report.gpu_day_tables import gpu_day_tables
from deepfake_triton.benchmarks.report.report import read_reports
from deepfake_triton.benchmarks.report.targets import targets, targets_table
from deepfake_triton.errors import InputError

_BLOCK = re.compile(
    r"(?P<begin><!-- results: (?P<folder>\S+) -->\n)(?P<body>.*?)(?P<end><!-- end of results -->)", re.DOTALL
)
_SHOWN = ("compare", "stages", "scaling")


def with_results(text: str, root: Path) -> str:
    """Return the text with its blocks filled. Raises InputError without a block, or for an empty folder."""
    if not _BLOCK.search(text):
        raise InputError("no block of results: expected <!-- results: FOLDER --> … <!-- end of results -->")
    return _BLOCK.sub(lambda block: f"{block['begin']}{_body(root / block['folder'])}{block['end']}", text)


def _body(folder: Path) -> str:
    if any(folder.glob("*.jsonl")):
        return "\n" + "\n".join(gpu_day_tables(folder)) + "\n\n"
    reports = read_reports(folder)
    if not reports:
        raise InputError(f"{folder}: holds no results; `deepfake-triton bench` writes them with --output")
    results = {name: report.result for name, report in reports.items()}
    environment = next(iter(reports.values())).environment
    lines = [environment.summary, "", *targets_table(targets(results.values(), environment))]
    for name in _SHOWN:
        if name in results:
            lines += ["", *results[name].table()]
    return "\n" + "\n".join(lines) + "\n\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Rewrite the file in place."""
    (name,) = sys.argv[1:] if arguments is None else arguments
    path = Path(name)
    path.write_text(with_results(path.read_text(), path.resolve().parent))


if __name__ == "__main__":
    main()
