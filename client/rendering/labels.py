"""Text labels on images: white on a colored background, inside the image, and not over other labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.client.rendering.colors import Color

Rectangle = tuple[int, int, int, int]
"""x1 y1 x2 y2 in px."""

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SIZE_AT_640_PX = 0.6
"""Capitals are then 13 px tall."""
_WHITE = (255, 255, 255)


@dataclass
class Labels:
    """Labels of one `image` [H, W, 3] uint8 RGB, drawn onto it one after another, beside its `faces` where
    there is room."""

    image: npt.NDArray[np.uint8]
    faces: Sequence[Rectangle] = ()
    placed: list[Rectangle] = field(default_factory=list)

    @property
    def scale(self) -> float:
        """Scale of lines and letters: 1 where the image's long side is 640 px."""
        return max(self.image.shape[:2]) / 640

    def add(self, text: str, near: Rectangle, *, color: Color, size: float = 1.0) -> Rectangle:
        """Write `text` above `near`, or below or in it where there is no room, and return its rectangle.

        Letters are `size` times as large as usual. Long lines are wrapped at spaces; long words are written
        smaller.
        """
        block = _fit(text, self.image.shape[1], size * _SIZE_AT_640_PX * self.scale)
        left, top = self._free_position(block, near)
        placed = (left, top, left + block.width, top + block.height)
        self.placed.append(placed)
        cv2.rectangle(self.image, placed[:2], placed[2:], color, cv2.FILLED)
        for number, line in enumerate(block.lines):
            origin = (left + block.pad, top + block.pad + number * block.line_height + block.ascent)
            cv2.putText(self.image, line, origin, _FONT, block.size, _WHITE, block.stroke, cv2.LINE_AA)
        return placed

    def _free_position(self, block: _Block, near: Rectangle) -> tuple[int, int]:
        """Return the first position (left, top) beside `near` inside the image and on no face or label; else
        on no label; else the one above it."""
        height, width = self.image.shape[:2]
        left = int(np.clip(near[0], 0, max(0, width - block.width - 1)))
        lowest = max(0, height - block.height - 1)
        wanted = [near[1] - block.height, near[3], near[1], near[3] - block.height]
        further = [top for _, y1, _, y2 in self.placed for top in (y2 + 1, y1 - block.height - 1)]
        for tops, taken in ((wanted, (*self.placed, *self.faces)), (wanted + further, self.placed)):
            for top in tops:
                spot = (left, top, left + block.width, top + block.height)
                if 0 <= top <= lowest and not any(_overlap(spot, other) for other in taken):
                    return left, top
        return left, int(np.clip(wanted[0], 0, lowest))


@dataclass(frozen=True)
class _Block:
    """Lines of text, and their sizes in px."""

    lines: Sequence[str]
    size: float
    stroke: int
    ascent: int
    line_height: int
    pad: int
    width: int

    @property
    def height(self) -> int:
        return len(self.lines) * self.line_height + 2 * self.pad


def _fit(text: str, room_px: int, size: float) -> _Block:
    while True:
        block = _measure(_wrap(text, room_px, size), size)
        if block.width < room_px:
            return block
        size *= 0.9


def _wrap(text: str, room_px: int, size: float) -> list[str]:
    """Wrap text to as many words per line as fit."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            longer = f"{line} {word}".strip()
            if line and _measure([longer], size).width >= room_px:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    return lines


def _measure(lines: Sequence[str], size: float) -> _Block:
    stroke = max(1, round(size / 0.45))
    sizes = [cv2.getTextSize(line, _FONT, size, stroke) for line in lines]
    ascent, below = max(height for (_, height), _ in sizes), max(base for _, base in sizes)
    pad = max(2, round(5 * size))
    width = max(width for (width, _), _ in sizes) + 2 * pad
    return _Block(lines, size, stroke, ascent, ascent + below, pad, width)


def _overlap(one: Rectangle, other: Rectangle) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
