"""Log records of library code, shown on stderr by the command that runs it."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator, Sequence
from typing import TextIO

from deepfake_triton.console.progress import pause_progress
from deepfake_triton.console.terminal import printable


@contextlib.contextmanager
def warnings_on_stderr(*loggers: str) -> Iterator[None]:
    """Show what these loggers warn of, one line a record, while the context is open."""
    handler = _OneLine(logging.WARNING)
    for name in loggers:
        logging.getLogger(name).addHandler(handler)
    try:
        yield
    finally:
        for name in loggers:
            logging.getLogger(name).removeHandler(handler)


@contextlib.contextmanager
def records_on_stderr(loggers: Sequence[str], formatter: logging.Formatter) -> Iterator[None]:
    """Show every record that these loggers take while the context is open, apart from a progress bar."""
    handler = _AboveProgress(sys.stderr)
    handler.setFormatter(formatter)
    for name in loggers:
        logging.getLogger(name).addHandler(handler)
    try:
        yield
    finally:
        for name in loggers:
            logging.getLogger(name).removeHandler(handler)


class TextLines(logging.Formatter):
    """Formatter of records as one printable line each, with the time."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        return f"{self.formatTime(record)} {printable(record.getMessage())}"


class _AboveProgress(logging.StreamHandler[TextIO]):
    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        with pause_progress():
            super().emit(record)


class _OneLine(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        with contextlib.suppress(OSError, ValueError), pause_progress():  # whoever read stderr has gone
            print(f"deepfake-triton: {printable(record.getMessage())}", file=sys.stderr, flush=True)
