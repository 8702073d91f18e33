"""Colors of verdicts, the same in plots and overlays."""

from __future__ import annotations

from deepfake_triton.client.verdicts.verdict import UNCERTAIN, Verdict

Color = tuple[int, int, int]
"""RGB, each 0…255."""

FAKE: Color = (192, 57, 43)
REAL: Color = (39, 128, 63)
UNSURE: Color = (176, 112, 0)
NOT_JUDGED: Color = (108, 117, 125)


def verdict_color(verdict: Verdict | None, reason: str | None) -> Color:
    """Return the color of a verdict on a video or a face; gray for what could not be judged."""
    if verdict is Verdict.INCONCLUSIVE or verdict is None:
        return UNSURE if reason == UNCERTAIN else NOT_JUDGED
    return FAKE if verdict is Verdict.FAKE else REAL


def hex_color(color: Color) -> str:
    """Return a color as matplotlib and SVG write it, such as `#c0392b`."""
    return "#{:02x}{:02x}{:02x}".format(*color)
