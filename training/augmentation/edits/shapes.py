"""Outlines of stickers and occluders, in units of their size around their middle, y down."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Outline = npt.NDArray[np.float64]
"""Corners [N, 2] (x, y) of a closed polygon."""


@dataclass(frozen=True)
class Part:
    """A filled polygon of the first or the second color."""

    outline: Outline
    is_second_color: bool = False


def _ellipse(center: tuple[float, float], half_width: float, half_height: float) -> Outline:
    angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    around = np.stack([half_width * np.cos(angle), half_height * np.sin(angle)], axis=1)
    return np.asarray(around + np.array(center), np.float64)


def _heart() -> Outline:
    t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([np.sin(t) ** 3, -y / 15], axis=1)


def _star() -> Outline:
    angle = np.pi * np.arange(10) / 5 - np.pi / 2
    radius = np.where(np.arange(10) % 2 == 0, 1.0, 0.42)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _smile() -> Outline:
    angle = np.linspace(0.15 * np.pi, 0.85 * np.pi, 14)
    arcs = [radius * np.stack([np.cos(angle), np.sin(angle)], axis=1) for radius in (0.62, 0.48)]
    return np.concatenate([arcs[0], arcs[1][::-1]])


def rounded_rectangle(half_width: float, half_height: float, radius: float) -> Outline:
    """Return the outline [N, 2] of a rectangle around 0, its corners rounded."""
    radius = min(radius, half_width, half_height)
    angle = np.linspace(0, np.pi / 2, 6)
    arc = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    corner = np.array([half_width - radius, half_height - radius])
    quarters = [corner + arc, [-1, 1] * (corner + arc)[::-1]]
    return np.concatenate([*quarters, *([1, -1] * quarter[::-1] for quarter in quarters[::-1])])


def _speech_bubble() -> Outline:
    box = rounded_rectangle(1.0, 0.6, 0.3)
    cut = int(np.argmax(box[:, 1] - 0.2 * np.abs(box[:, 0])))
    return np.concatenate([box[: cut + 1], [(0.1, 0.6), (-0.5, 1.05), (-0.4, 0.6)], box[cut + 1 :]])


def _framed(outline: Outline, *inner: Outline) -> tuple[Part, ...]:
    """Return an outline with a rim of the second color, and inner parts of the second color."""
    rim = Part(1.12 * outline, is_second_color=True)
    return (rim, Part(outline), *(Part(part, is_second_color=True) for part in inner))


_SMILEY = _framed(
    _ellipse((0, 0), 1, 1), _ellipse((-0.36, -0.25), 0.13, 0.2), _ellipse((0.36, -0.25), 0.13, 0.2), _smile()
)
_ARROW = np.array([(-1, -0.2), (0.2, -0.2), (0.2, -0.6), (1, 0), (0.2, 0.6), (0.2, 0.2), (-1, 0.2)])
_CROWN = np.array([(-1, 0.6), (-1, -0.5), (-0.5, 0.05), (0, -0.8), (0.5, 0.05), (1, -0.5), (1, 0.6)])
_PARTS: dict[str, tuple[Part, ...]] = {
    "smiley": _SMILEY,
    "heart": _framed(_heart()),
    "star": _framed(_star()),
    "bubble": _framed(_speech_bubble(), *(_ellipse((x, 0), 0.13, 0.13) for x in (-0.4, 0.0, 0.4))),
    "arrow": _framed(_ARROW),
    "crown": _framed(_CROWN),
    "tear": _framed(_ellipse((0, 0), 0.35, 0.6)),
    "microphone": (
        Part(rounded_rectangle(0.34, 4.0, 0.3) + np.array([0, 4.4])),
        Part(_ellipse((0, 0), 1, 1.25)),
        Part(_ellipse((-0.3, -0.3), 0.42, 0.65), is_second_color=True),
        Part(rounded_rectangle(1.04, 0.1, 0.1) + np.array([0, 0.15])),
    ),
    "bar": (Part(rounded_rectangle(12.0, 1.0, 0.0)),),
}
STICKERS = ("smiley", "heart", "star", "bubble", "arrow", "crown", "tear")


def sticker_parts(name: str) -> tuple[Part, ...]:
    """Return the parts of a sticker or occluder, from the lowest to the highest."""
    return _PARTS[name]
