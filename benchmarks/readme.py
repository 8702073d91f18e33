"""Puts stored results into a text, between marks that name their folder; nothing there is typed.

Run: python -m deepfake_triton.benchmarks.readme README.md
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from deepfake_triton.benchmarks.report import measured_on, results_in, table_of, targets_table
from deepfake_triton.errors import InputError

_BLOCK = re.compile(
    r"(?P<begin><!-- results: (?P<folder>\S+) -->\n)(?P<body>.*?)(?P<end><!-- end of results -->)", re.DOTALL
)


def with_results(text: str, root: Path) -> str:
    """The text with its blocks made anew. Raises InputError without a block, or where a folder is empty."""
    if not _BLOCK.search(text):
        raise InputError("no block of results: expected <!-- results: FOLDER --> … <!-- end of results -->")
    return _BLOCK.sub(lambda block: f"{block['begin']}{_body(root / block['folder'])}{block['end']}", text)


def _body(folder: Path) -> str:
    results = results_in(folder)
    if not results:
        raise InputError(f"{folder}: holds no results; `deepfake-triton bench` writes them with --output")
    lines = [measured_on(next(iter(results.values()))["environment"]), "", *targets_table(results)]
    if "compare" in results:
        lines += ["", *table_of("compare", results["compare"])]
    if "stages" in results:
        lines += ["", *table_of("stages", results["stages"])]
    return "\n" + "\n".join(lines) + "\n\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Rewrite the file in place."""
    (name,) = sys.argv[1:] if arguments is None else arguments
    path = Path(name)
    path.write_text(with_results(path.read_text(), path.resolve().parent))


if __name__ == "__main__":
    main()
