"""The demo's clip: a real face, made from one still, on which exports are checked and benchmarks run, too."""

from __future__ import annotations

from pathlib import Path

DEMO_CLIP = Path(__file__).resolve().parent / "demo_clip" / "still_portrait.mp4"
DEMO_NOTICE = DEMO_CLIP.with_name("NOTICE.txt")
"""The origin of the portrait, its license, and what the person consented to."""


def demo_clip() -> Path | None:
    """Return the clip that comes with this package, made from one still; None where it was left out.

    120 frames of 320x320 at 25 a second with one face; NOTICE.txt beside it names the person and the license.
    """
    return DEMO_CLIP if DEMO_CLIP.is_file() else None
