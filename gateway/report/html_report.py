"""Report on a number of files as one HTML file: no scripts, nothing that is fetched from elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from deepfake_triton import __version__
from deepfake_triton.client.verdicts.verdict import VideoFailure, VideoVerdict
from deepfake_triton.gateway.report.entries import ReportEntry, utc_text
from deepfake_triton.gateway.report.presentation import Shown, shown
from deepfake_triton.gateway.words.credentials import credentials_sentences
from deepfake_triton.gateway.words.sentences import Reading, error_sentence, scale_sentence
from deepfake_triton.gateway.words.texts import Texts
from deepfake_triton.gateway.words.times import probability_text, size_text

_TEMPLATES = Path(__file__).parent


@dataclass(frozen=True)
class EntryShown:
    """One file of the report: the entry, and its verdict as people see it (None for a failure).

    Attributes:
        entry: The entry.
        shown: The verdict.
        sentence: The verdict, or the failure, in one sentence.
        detail: Message of the failure.
        thresholds: Thresholds in words; None without a model.
        size: Size in words; None where it is unknown.
        credentials: What the Content Credentials tell, in sentences; empty where they were not read.
    """

    entry: ReportEntry
    shown: Shown | None
    sentence: str
    detail: str | None
    thresholds: str | None
    size: str | None
    credentials: tuple[str, ...] = ()

    @property
    def reading(self) -> str:
        """How it reads, or `failed`."""
        return self.shown.reading.value if self.shown else "failed"


def html_report(
    entries: Sequence[ReportEntry],
    texts: Texts,
    *,
    made_at: float | None = None,
    num_files: int | None = None,
) -> str:
    """Return the report; `made_at` by time.time(), now by default; `num_files` were to be judged."""
    shown_entries = [entry_shown(entry, texts) for entry in entries]
    counts = Counter(entry.reading for entry in shown_entries)
    verdicts = [entry.outcome for entry in entries if isinstance(entry.outcome, VideoVerdict)]
    limits = dict.fromkeys(limit for entry in shown_entries if entry.shown for limit in entry.shown.limits)
    return str(
        template_environment()
        .get_template("report.html")
        .render(
            t=texts,
            entries=shown_entries,
            made_on=utc_text(time.time() if made_at is None else made_at),
            version=__version__,
            num_files=num_files if num_files and num_files > len(entries) else None,
            counts={
                "count": len(entries),
                "fake": counts[Reading.FAKE.value],
                "real": counts[Reading.REAL.value],
                "unsure": counts[Reading.UNCERTAIN.value] + counts[Reading.UNJUDGED.value],
                "failed": counts["failed"],
            },
            limits=list(limits),
            scales=list(dict.fromkeys(scale_sentence(v.model.thresholds, texts) for v in verdicts)),
        )
    )


def entry_shown(entry: ReportEntry, texts: Texts) -> EntryShown:
    """Return an entry as the report shows it."""
    outcome = entry.outcome
    model = outcome.model
    size = size_text(entry.size_bytes) if entry.size_bytes is not None else None
    thresholds = str(model.thresholds) if model else None
    credentials = credentials_sentences(outcome.content_credentials, texts)
    if isinstance(outcome, VideoFailure):
        sentence = error_sentence(outcome.error_type, texts)
        return EntryShown(entry, None, sentence, outcome.message, thresholds, size, credentials)
    verdict = shown(outcome, texts)
    return EntryShown(entry, verdict, verdict.sentence, None, thresholds, size, credentials)


@cache
def template_environment(*folders: Path) -> Any:
    """Return a jinja2 environment of the templates in folders and of the parts that the report has."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([*folders, _TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["probability"] = probability_text
    return environment
