"""The CSV table is read back by Python's own reader, and spreadsheets run none of it."""

from __future__ import annotations

import csv
import io

import pytest
from gateway_verdicts import model, person, verdict

from deepfake_triton.client.verdicts.verdict import VideoFailure
from deepfake_triton.gateway.report.csv_table import COLUMNS, csv_table
from deepfake_triton.gateway.report.entries import ReportEntry
from deepfake_triton.gateway.words.texts import texts_for

pytestmark = pytest.mark.fast


def rows(*entries: ReportEntry) -> list[dict[str, str]]:
    text = csv_table(entries, texts_for("en"))
    assert text.count("\r\n") == len(entries) + 1
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def test_a_verdict_and_a_failure_are_one_row_each() -> None:
    judged = ReportEntry('a, "b".mp4', "ab" * 32, 0.0, verdict(person(0, [(3, 0.9)])))
    failed = ReportEntry(
        "bad.mp4", None, 1.5, VideoFailure("bad.mp4", "NotAVideo", "bad.mp4: is no media file", model())
    )
    first, second = rows(judged, failed)
    assert tuple(first) == COLUMNS
    assert first["file"] == 'a, "b".mp4' and first["verdict"] == "FAKE"
    assert float(first["fake_probability"]) == pytest.approx(0.9)
    assert first["sentence"] == "Signs of manipulation at 0:03–0:04"
    assert first["judged_at_utc"] == "1970-01-01 00:00:00" and first["sha256"] == "ab" * 32
    assert float(first["fake_at_least"]) == 0.5 and first["model_sha256"] == "f00d" * 16
    assert second["verdict"] == "" and second["error_type"] == "NotAVideo"
    assert second["error_message"] == "bad.mp4: is no media file" and second["sha256"] == ""


@pytest.mark.parametrize("name", ["=1+1.mp4", "+1.mp4", "-2.mp4", "@SUM(A1).mp4", "\t=1.mp4", "\r=1.mp4"])
def test_names_are_no_formulas(name: str) -> None:
    (row,) = rows(ReportEntry(name, None, 0.0, VideoFailure(name, "NotAVideo", name)))
    assert row["file"].startswith("'") and row["error_message"].startswith("'")


def test_a_name_that_is_not_utf_8_can_be_written() -> None:
    (row,) = rows(ReportEntry("bad\udcff.mp4", None, 0.0, verdict()))
    assert row["file"] == "bad\\udcff.mp4"
