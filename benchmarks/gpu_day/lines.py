"""Figures as lines of JSON, each written once it is known: a run that is cut short keeps the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class FigureLines:
    """A file that grows by a line for each figure; `common` values stand in every line."""

    def __init__(self, path: Path, **common: Any) -> None:
        self._path, self._common = path, common

    def add(self, what: str, **figures: Any) -> None:
        """Append a line, and print it."""
        line = json.dumps({"what": what, **self._common, **figures})
        with self._path.open("a") as lines:
            lines.write(line + "\n")
        print(line, flush=True)
