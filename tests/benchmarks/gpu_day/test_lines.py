from __future__ import annotations

import json
from pathlib import Path

import pytest

from deepfake_triton.benchmarks.gpu_day.lines import FigureLines

pytestmark = pytest.mark.fast


def test_each_figure_is_a_line_of_its_own_as_soon_as_it_is_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "figures.jsonl"
    path.write_text('{"what": "earlier"}\n')
    lines = FigureLines(path, repository="fp16", device="cuda")
    lines.add("load", callers=8, p50_ms=None)
    assert path.read_text().count("\n") == 2, "before the next figure is known"
    lines.add("load", callers=32, device="cpu")
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"what": "earlier"},
        {"what": "load", "repository": "fp16", "device": "cuda", "callers": 8, "p50_ms": None},
        {"what": "load", "repository": "fp16", "device": "cpu", "callers": 32},
    ]
    assert capsys.readouterr().out == "".join(path.read_text().splitlines(keepends=True)[1:])
