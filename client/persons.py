"""The faces of one window after another, put together into persons."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from deepfake_triton.client.appearance import Appearance, appearance_of, distance
from deepfake_triton.client.verdict import FaceVerdict, Sighting
from deepfake_triton.contracts import MAX_FACES
from deepfake_triton.preprocessing.detections import box_overlap

# Measured: 95 % of pairs of frames of one person differ by less than 0.31 (a moving head before moving
# scenery) or 0.25 (two expressions in a studio). Of two people in two places one pair in a thousand differs
# by less than 0.47; of two before the same wall in the same light 2 % by less than 0.31.
ALIKE = 0.32
"""Two faces whose colours differ by less are one person's."""
ALIKE_IN_PLACE = 0.42
"""The same where the second stands where the first was a moment before."""
MOMENT_SECONDS = 1.0
IN_PLACE_OVERLAP = 0.3
_REMEMBERED = 6
"""Appearances of a person: the first, and the last ones."""


@dataclass
class _Person:
    faces: list[FaceVerdict]
    looks: list[Appearance]

    @property
    def last(self) -> Sighting:
        return self.faces[-1].sightings[-1]


class Persons:
    """Links faces by how they look and where they are. Windows are added in the order of the video."""

    def __init__(self) -> None:
        self._persons: list[_Person] = []

    def add(self, faces: tuple[FaceVerdict, ...]) -> None:
        """The faces of the next window."""
        looks = [appearance_of(face.portrait) for face in faces]
        waiting = dict(enumerate(faces))
        while waiting:
            pairs = [
                (cost, index, person)
                for index, face in waiting.items()
                for person, known in enumerate(self._persons)
                if (cost := _cost(known, face.sightings[0], looks[index])) <= 1
                and not _seen_together(known, face)
            ]
            if pairs:
                _, index, person = min(pairs)
                self._join(self._persons[person], waiting.pop(index), looks[index])
            else:  # nobody's: a new person, whose track may have broken within this window
                index = min(waiting)
                self._persons.append(_Person([waiting.pop(index)], [looks[index]]))

    def verdicts(self) -> tuple[FaceVerdict, ...]:
        """Every person as one FaceVerdict, in the order of appearance."""
        return tuple(_merged(index, person.faces) for index, person in enumerate(self._persons))

    @staticmethod
    def _join(person: _Person, face: FaceVerdict, look: Appearance) -> None:
        person.faces.append(face)
        person.looks.append(look)
        if len(person.looks) > _REMEMBERED:
            del person.looks[1]


def _cost(person: _Person, sighting: Sighting, look: Appearance) -> float:
    """How unlike the two are, as a share of what is allowed."""
    nearest = min(distance(look, known) for known in person.looks)
    last = person.last
    soon = sighting.pts_seconds[0] - last.pts_seconds[-1] <= MOMENT_SECONDS
    in_place = soon and _overlap(last, sighting) >= IN_PLACE_OVERLAP
    return nearest / (ALIKE_IN_PLACE if in_place else ALIKE)


def _overlap(before: Sighting, after: Sighting) -> float:
    places = (before.boxes[-1:].astype(np.float64), after.boxes[:1].astype(np.float64))
    return float(box_overlap(*places)[0, 0])


def _seen_together(person: _Person, face: FaceVerdict) -> bool:
    """Whether both are in one frame: then they are two people."""
    times = face.sightings[0].pts_seconds
    lately = person.faces[-MAX_FACES:]
    return any(bool(np.isin(times, each.sightings[0].pts_seconds).any()) for each in lately)


def _merged(index: int, faces: list[FaceVerdict]) -> FaceVerdict:
    """One person: the probability is the mean over all frames in which they were seen."""
    if len(faces) == 1:
        return replace(faces[0], track=index)
    counts = np.array([face.frames_observed for face in faces])
    probability = float(np.average([face.fake_probability for face in faces], weights=counts))
    clearest = max(faces, key=lambda face: face.face_px)
    return FaceVerdict(
        track=index,
        fake_probability=probability,
        frames_observed=int(counts.sum()),
        segments=tuple(segment for face in faces for segment in face.segments),
        box=faces[0].box,
        face_px=float(np.median([face.face_px for face in faces])),
        sharpness=float(np.median([face.sharpness for face in faces])),
        sightings=tuple(sighting for face in faces for sighting in face.sightings),
        portrait=clearest.portrait,
    )
