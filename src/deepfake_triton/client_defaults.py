"""Defaults of the client, for options that are shown without the client's extra."""

from __future__ import annotations

DEFAULT_URL = "localhost:8001"
DEFAULT_TIMEOUT_S = 60.0
MIN_FRAMES = 5
MIN_FACE_PX = 40.0
MIN_SHARPNESS = 10.0
MAX_BLOCKINESS = 0.54
"""Limits on a face to be evidence, see `client.EvidenceRule`."""
PLOT_SUFFIXES = (".png", ".svg")
