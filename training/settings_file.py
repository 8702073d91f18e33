"""What a folder of ours was made with, so that results of two kinds never mix in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepfake_triton.errors import DatasetError

SETTINGS_NAME = "settings.json"


def require_same_settings(folder: Path, settings: Mapping[str, Any], kind: str) -> None:
    """Make the folder with these settings, or check that it has them; `kind` is what it holds.

    Raises DatasetError with the first that differs.
    """
    path, wanted = folder / SETTINGS_NAME, json.loads(json.dumps(dict(settings)))
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{SETTINGS_NAME}.partial")
        partial.write_text(json.dumps(wanted, indent=2) + "\n")
        partial.replace(path)
        return
    found = json.loads(path.read_text())
    different = [name for name in wanted if found.get(name) != wanted[name]]
    if different:
        raise DatasetError(
            f"{folder}: holds {kind}: {different[0]}: got {found.get(different[0])!r}, "
            f"expected {wanted[different[0]]!r}; name a new folder"
        )
