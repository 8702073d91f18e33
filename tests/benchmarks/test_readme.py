from __future__ import annotations

from pathlib import Path

import pytest

from deepfake_triton.benchmarks.readme import with_results
from deepfake_triton.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


def test_the_readmes_figures_are_those_of_the_stored_results() -> None:
    text = (ROOT / "README.md").read_text()
    assert with_results(text, ROOT) == text, "python -m deepfake_triton.benchmarks.readme README.md"


def test_a_text_without_marks_or_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no block of results"):
        with_results("# nothing\n", tmp_path)
    with pytest.raises(InputError, match="holds no results"):
        with_results("<!-- results: nowhere -->\n<!-- end of results -->", tmp_path)
