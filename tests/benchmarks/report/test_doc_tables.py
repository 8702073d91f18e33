from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from paths import ROOT

from deepfake_triton.benchmarks.report.doc_tables import with_results
from deepfake_triton.errors import InputError

pytestmark = pytest.mark.fast

PAGE, GPU_PAGE = ROOT / "docs/guides/benchmarks.md", ROOT / "docs/guides/gpu.md"


@pytest.mark.parametrize("page", [PAGE, GPU_PAGE], ids=lambda page: page.name)
def test_the_figures_of_the_docs_are_those_of_the_stored_results(page: Path) -> None:
    text = page.read_text()
    assert with_results(text, page.parent) == text, (
        f"python -m deepfake_triton.benchmarks.report.doc_tables {page.relative_to(ROOT)}"
    )


def test_the_readmes_rows_are_those_of_the_docs() -> None:
    readme = (ROOT / "README.md").read_text().splitlines()
    begin = next(index for index, line in enumerate(readme) if line.startswith("| path | same verdict |"))
    rows = list(itertools.takewhile(lambda line: line.startswith("|"), readme[begin:]))
    assert len(rows) > 4 and set(rows) <= set(PAGE.read_text().splitlines())


def test_a_text_without_marks_or_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no block of results"):
        with_results("# nothing\n", tmp_path)
    with pytest.raises(InputError, match="holds no results"):
        with_results("<!-- results: nowhere -->\n<!-- end of results -->", tmp_path)
