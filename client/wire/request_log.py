"""Log of requests: a record with fields for each, for Python's logging, and a formatter for JSON lines.

The `request_id` is in Triton's log too: in the lines of `face_tracker`, and where Triton names a request.
"""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone
from typing import Any

LOGGER = logging.getLogger("deepfake_triton.client")
LOGGER.addHandler(logging.NullHandler())  # without a handler Python prints warnings
RECORD_FIELDS = "deepfake_triton"
"""Attribute of a record that holds its fields."""


def log_request(
    *, request_id: str, url: str, model: str, frames: int, transport: str, seconds: float, error: str | None
) -> None:
    """Log a request: at INFO if it was answered, at WARNING if not; `error` is the type of the error."""
    fields = {
        "event": "request",
        "request_id": request_id,
        "url": url,
        "model": model,
        "frames": frames,
        "transport": transport,
        "seconds": round(seconds, 4),
        "error": error,
    }
    level = logging.WARNING if error else logging.INFO
    if LOGGER.isEnabledFor(level):
        outcome = error or "answered"
        LOGGER.log(
            level,
            "%s: %s after %.3f s, request %s",
            url,
            outcome,
            seconds,
            request_id,
            extra={RECORD_FIELDS: fields},
        )


def log_warning(text: str) -> None:
    """Log a warning for the operator of this client."""
    LOGGER.warning("%s", text)


class JsonLines(logging.Formatter):
    """Formatter of records as JSON objects: time, level, and the fields, or the message where there are none;
    with the traceback of an unexpected error."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        fields: dict[str, Any] = getattr(record, RECORD_FIELDS, {"event": record.getMessage()})
        if record.exc_info:
            fields = {**fields, "traceback": self.formatException(record.exc_info)}
        time = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        return json.dumps({"time": time, "level": record.levelname.lower(), **fields})
