"""The type of what `to_json` returns and `from_json` takes."""

from __future__ import annotations

from typing import Any, TypeAlias

JsonObject: TypeAlias = dict[str, Any]
"""A JSON object as `json.loads` returns it: numbers, strings, booleans, None, lists and objects."""
