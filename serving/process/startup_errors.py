"""The reason why Triton did not start, found in its log."""

from __future__ import annotations

import re
from collections.abc import Iterable

_PATTERNS = (
    re.compile(r"failed to load '(?P<model>[^']+)' version \d+: (?P<why>.+)"),
    re.compile(r"failed to load model '(?P<model>[^']+)': (?P<why>.+)"),
    re.compile(r"Poll failed for model directory '(?P<model>[^']+)': (?P<why>.+)"),
)
_ERROR_LINE = re.compile(r"^E\d{4} [^\]]+\] \"?(?P<why>.+?)\"?$|^error: (?P<other>.+)$")
# Logged on every machine without a GPU, and at every regular end.
_HARMLESS = re.compile(
    r"CudaDriverHelper|unable to create stream|Failed to initialize NVML|DCGM unable to start"
    r"|^Signal \(\d+\) received"
)


def is_harmless(line: str) -> bool:
    """Whether a line of the log is no problem on a machine without a GPU, or at a regular end."""
    return bool(_HARMLESS.search(line))


def reason_from_log(lines: Iterable[str]) -> str:
    """Return the first failed model with its reason; else the last error; else that there is none."""
    last = "its log gives no reason"
    for line in lines:
        if is_harmless(line):
            continue
        for pattern in _PATTERNS:
            if found := pattern.search(line):
                return f"model {found['model']} does not load: {_plain(found['why'])}"
        if found := _ERROR_LINE.match(line):
            last = _plain(found["why"] or found["other"])
    return last


def _plain(text: str) -> str:
    return text.replace("\\n", " ").strip().rstrip('"').strip()
