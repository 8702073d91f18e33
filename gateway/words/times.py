"""Times, durations, sizes and probabilities as people read them."""

from __future__ import annotations

import math
from collections.abc import Iterable


def clock(seconds: float) -> str:
    """Format a time of a video as m:ss or h:mm:ss, rounded down."""
    minutes, rest = divmod(math.floor(max(0.0, seconds) + 1e-6), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def duration_text(seconds: float) -> str:
    """Format a duration as m:ss or h:mm:ss, rounded."""
    return clock(seconds + 0.5)


def precise_span(start_seconds: float, end_seconds: float) -> str:
    """Format a part of a video in tenths of a second, such as `0:03.2–0:04.0`."""
    return "–".join(_tenths(seconds) for seconds in (start_seconds, end_seconds))


def span(start_seconds: float, end_seconds: float) -> str:
    """Format a part of a video in whole seconds that hold all of it, such as `0:03–0:04`."""
    return f"{clock(start_seconds)}–{clock(_ceiling(end_seconds))}"


def merged_spans(parts: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Merge parts (start, end in seconds) that touch once they are in whole seconds, sorted by start."""
    merged: list[tuple[float, float]] = []
    for start, end in sorted(parts):
        if merged and math.floor(start + 1e-6) <= _ceiling(merged[-1][1]):
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def probability_text(probability: float) -> str:
    """Format a probability with two decimals; never as 0.00 or 1.00, which would read as certain."""
    return "< 0.01" if probability < 0.005 else "> 0.99" if probability >= 0.995 else f"{probability:.2f}"


def size_text(size_bytes: int) -> str:
    """Format a size in units of 1024, such as `2 GB` or `14.3 MB`."""
    amount, units = float(size_bytes), ["bytes", "kB", "MB", "GB"]
    while amount >= 1000 and len(units) > 1:
        amount /= 1024
        del units[0]
    return f"{amount:.3g} {units[0]}"


def _tenths(seconds: float) -> str:
    tenths = round(10 * max(0.0, seconds))
    return f"{clock(tenths // 10)}.{tenths % 10}"


def _ceiling(seconds: float) -> int:
    return math.ceil(seconds - 1e-6)
