"""Verdicts as CSV (RFC 4180): one row for each file."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from deepfake_triton.client.verdicts.content_credentials import ContentCredentials
from deepfake_triton.client.verdicts.verdict import ModelInfo, VideoFailure, VideoVerdict
from deepfake_triton.gateway.report.entries import ReportEntry
from deepfake_triton.gateway.words.sentences import error_sentence, verdict_sentence
from deepfake_triton.gateway.words.texts import Texts

COLUMNS = (
    *("file", "verdict", "fake_probability", "reason", "sentence", "persons", "faces_left_out"),
    *("operating_point", "fake_at_least", "real_at_most", "frames_decoded", "duration_seconds"),
    *("sha256", "judged_at_utc", "model", "model_version", "weights", "model_sha256"),
    *("content_credentials", "content_credentials_signer"),
    *("error_type", "error_message"),
)
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
"""Spreadsheets take text that begins so for a formula, and run it."""


def csv_table(entries: Sequence[ReportEntry], texts: Texts) -> str:
    """Return one row for each file, below a row of `COLUMNS`; lines end with CR LF."""
    written = io.StringIO(newline="")
    writer = csv.writer(written, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for entry in entries:
        row = _row(entry, texts)
        writer.writerow([_cell(row.get(column)) for column in COLUMNS])
    return written.getvalue()


def _row(entry: ReportEntry, texts: Texts) -> dict[str, object]:
    outcome = entry.outcome
    row: dict[str, object] = {
        "file": entry.name,
        "sha256": entry.sha256,
        "judged_at_utc": entry.judged_at_text,
        **_model_cells(outcome.model),
        **_credentials_cells(outcome.content_credentials),
    }
    if isinstance(outcome, VideoFailure):
        return {
            **row,
            "sentence": error_sentence(outcome.error_type, texts),
            "error_type": outcome.error_type,
            "error_message": outcome.message,
        }
    return {**row, **_verdict_cells(outcome, texts)}


def _verdict_cells(verdict: VideoVerdict, texts: Texts) -> dict[str, object]:
    return {
        "verdict": verdict.verdict.value,
        "fake_probability": verdict.fake_probability,
        "reason": verdict.reason,
        "sentence": verdict_sentence(verdict, texts),
        "persons": len(verdict.faces),
        "faces_left_out": verdict.faces_left_out,
        "frames_decoded": verdict.frames_decoded,
        "duration_seconds": verdict.duration_seconds,
    }


def _model_cells(model: ModelInfo | None) -> dict[str, object]:
    if model is None:
        return {}
    return {
        "operating_point": model.thresholds.name,
        "fake_at_least": model.thresholds.fake_at_least,
        "real_at_most": model.thresholds.real_at_most,
        "model": model.name,
        "model_version": model.version,
        "weights": model.weights,
        "model_sha256": model.sha256,
    }


def _credentials_cells(credentials: ContentCredentials | None) -> dict[str, object]:
    if credentials is None:
        return {}
    return {
        "content_credentials": credentials.state.value,
        "content_credentials_signer": credentials.signer,
    }


def _cell(value: object) -> object:
    """Return a value as a cell; text that a spreadsheet would run gets an apostrophe in front."""
    if isinstance(value, str):
        value = value.encode("utf-8", "backslashreplace").decode("utf-8")  # names need not be UTF-8
        return f"'{value}" if value.startswith(_FORMULA_STARTS) else value
    return value
