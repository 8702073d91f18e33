"""Types and helpers of the tests that drive the page in a browser."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Visit = Callable[..., Any]
"""Opens the page at a path in a context of its own, with options of Playwright's new_context."""


@dataclass(frozen=True)
class Clips:
    """Short clips of the same person: 40 frames, which are two windows."""

    pristine: Path
    forged: Path


@dataclass(frozen=True)
class PageKeys:
    """A file of API keys, and three of them; the last may have one job at once."""

    file: Path
    first: str
    second: str
    slow: str


def until(holds: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Wait for a condition. Playwright's own wait_for_function needs eval, which the page forbids."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.05)
