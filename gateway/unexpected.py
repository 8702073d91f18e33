"""What is logged of an error of the gateway itself."""

from __future__ import annotations

import logging
import traceback
from typing import Any

LOGGER = logging.getLogger("deepfake_triton.gateway")
_NUM_PLACES = 4


def log_unexpected(error: BaseException, where: str) -> None:
    """Log where in the code an error came from, without its text, which may name a stranger's file."""
    places: list[Any] = traceback.extract_tb(error.__traceback__)[-_NUM_PLACES:]
    trail = " < ".join(f"{place.filename}:{place.lineno} {place.name}" for place in reversed(places))
    LOGGER.error("unexpected %s in %s: %s", type(error).__name__, where, trail)
