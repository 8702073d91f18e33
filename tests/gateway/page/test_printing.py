"""The report on paper: how many pages, and nothing beyond their edge."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from gateway_verdicts import person, verdict

from deepfake_triton.gateway.report.entries import ReportEntry
from deepfake_triton.gateway.report.html_report import html_report
from deepfake_triton.gateway.words.texts import read_texts

pytestmark = pytest.mark.triton
A4_WIDTH_PX, A4_MARGIN_PX = 794, 57


def report(path: Path, num_files: int, windows: int) -> Path:
    """A report on files of two persons each, the names longer than a line."""
    parts = [(float(start), 0.9) for start in range(windows)]
    entries = [
        ReportEntry(
            f"{number}-{'name' * 40}.mp4", "0f" * 32, 0.0, verdict(person(0, parts), person(1, parts)), 7
        )
        for number in range(num_files)
    ]
    path.write_text(html_report(entries, read_texts("en"), made_at=0.0))
    return path


@pytest.mark.parametrize(
    ("num_files", "windows", "fewest", "most"), [(1, 2, 1, 2), (1, 60, 3, 7), (8, 2, 4, 11)]
)
def test_a_report_prints_on_few_pages(
    browser: Any, tmp_path: Path, num_files: int, windows: int, fewest: int, most: int
) -> None:
    path = report(tmp_path / "report.html", num_files, windows)
    page = browser.new_page(
        color_scheme="dark", viewport={"width": A4_WIDTH_PX - 2 * A4_MARGIN_PX, "height": 900}
    )
    page.goto(path.as_uri())
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    printed = page.pdf(prefer_css_page_size=True, print_background=False)
    assert fewest <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= most
    assert b"/MediaBox [0 0 59" in printed, "A4"
    page.close()
