"""Clips of drawn people: patterns at known places in drawn scenes."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from deepfake_triton.arrays import Boxes, Frames, Image

SIDE, HEIGHT, WIDTH = 80, 240, 320
LEFT, RIGHT = (40, 70), (190, 80)
A, B, C = range(3)


def pattern(seed: int, height: int, width: int) -> Image:
    """Return soft colored blobs, as smooth as a face, different for each seed."""
    coarse = np.random.default_rng(seed).integers(30, 226, (height // 16, width // 16, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def blend(one: Image, other: Image, share: float) -> Image:
    """Return `one` with a `share` 0…1 of the `other`."""
    return np.asarray(cv2.addWeighted(one, 1 - share, other, share, 0), np.uint8)


FACES = [pattern(person, SIDE, SIDE) for person in range(3)]
SCENES = [pattern(10 + scene, HEIGHT, WIDTH) for scene in range(3)]

ALIKE = len(FACES)
FACES += [blend(FACES[A], FACES[B], share) for share in (0.2, 0.25)]
"""From here on, two who look much like A: nearer than one person seconds later."""
SAME_WALL = len(SCENES)
SCENES.append(blend(SCENES[0], SCENES[1], 0.35))
"""Much like scene 0, as two portraits before one wall are."""

Moment = tuple[int, dict[int, tuple[int, int]]]
"""A scene, and each person's place in it."""


def film(moments: Sequence[Moment]) -> tuple[Frames, list[Boxes]]:
    """Return frames and the boxes of the faces in them, from left to right; all sway a little, with noise."""
    frames, boxes = [], []
    for index, (scene, people) in enumerate(moments):
        frame, found = SCENES[scene].copy(), []
        sway = round(3 * np.sin(0.7 * index))
        for person, (left, top) in sorted(people.items(), key=lambda item: item[1]):
            x, y = left + sway, top - sway
            frame[y : y + SIDE, x : x + SIDE] = FACES[person]
            found.append([x, y, x + SIDE, y + SIDE])
        noise = np.random.default_rng(index).normal(0, 4, frame.shape)
        frames.append(np.clip(frame + noise, 0, 255).astype(np.uint8))
        boxes.append(np.array(found, float).reshape(-1, 4))
    return np.stack(frames), boxes
