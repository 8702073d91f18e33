"""One record for every request to a server, as fields: Python's logging, and JSON lines where asked for.

The `request_id` stands in Triton's log too: in the lines of `face_tracker`, and where Triton names a request.
"""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone
from typing import Any

LOGGER = logging.getLogger("deepfake_triton.client")
LOGGER.addHandler(logging.NullHandler())  # else Python prints warnings where nobody asked for logs
_FIELDS = "deepfake_triton"


def log_request(
    *, request_id: str, url: str, model: str, frames: int, transport: str, seconds: float, error: str | None
) -> None:
    """At INFO what was answered, at WARNING what was not; `error` is the type of the error."""
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
            extra={_FIELDS: fields},
        )


def log_warning(text: str) -> None:
    """What whoever runs this client should know."""
    LOGGER.warning("%s", text)


class JsonLines(logging.Formatter):
    """A record as one JSON object: time, level, and the fields, or the message where there are none."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        fields: dict[str, Any] = getattr(record, _FIELDS, {"event": record.getMessage()})
        time = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        return json.dumps({"time": time, "level": record.levelname.lower(), **fields})
