"""`settings.json` of a run folder or crop store, so that results of different settings never mix in it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from deepfake_triton.errors import DatasetError
from deepfake_triton.files.atomic import atomic_write

SETTINGS_NAME = "settings.json"


def require_same_settings(
    folder: Path, settings: Mapping[str, Any], kind: str, *, free: Collection[str] = ()
) -> None:
    """Create the folder with these settings, or check that it has them; `kind` names its content.

    Those that are `free` may differ. Within a group of settings, one that an earlier release did not store
    may have any value. Raises DatasetError naming the first setting that differs.
    """
    path, wanted = folder / SETTINGS_NAME, json.loads(json.dumps(dict(settings)))
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as partial:
            partial.write_text(json.dumps(wanted, indent=2) + "\n")
        return
    found = json.loads(path.read_text())
    different = [
        name for name in found | wanted if name not in free and _differ(found.get(name), wanted.get(name))
    ]
    if different:
        raise DatasetError(
            f"{folder}: holds {kind}: {different[0]}: got {found.get(different[0])!r}, "
            f"expected {wanted.get(different[0])!r}; name a new folder"
        )


def _differ(found: Any, wanted: Any) -> bool:
    if isinstance(found, dict) and isinstance(wanted, dict):
        return any(found[name] != wanted.get(name) for name in found)
    return bool(found != wanted)
