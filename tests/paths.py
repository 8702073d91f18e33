"""Where the tests find this checkout, and what may stand beside it."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
"""Beside a developer's checkout and CI's, not beside a user's: tests that need it skip without it."""
