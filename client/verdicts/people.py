"""Linking of faces across windows into persons."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from deepfake_triton.client.verdicts.appearance import Colors, color_distance, color_histogram
from deepfake_triton.client.verdicts.clustering import EmbeddingCluster, link_clusters
from deepfake_triton.client.verdicts.face_embedding import NO_VIEWS, embed_face
from deepfake_triton.client.verdicts.verdict import FaceVerdict, Sighting
from deepfake_triton.preprocessing.detections import box_overlap


@dataclass(frozen=True)
class SamePlaceLimits:
    """Limits on the time between two sightings, in seconds, and on the distances of their embeddings and of
    their colors: a face in the same place below all of them is the same person."""

    gap_s: float
    embedding: float
    color: float

    def admits(self, *, gap_s: float, embedding: float, color: float) -> bool:
        """Whether all three lie below the limits."""
        return gap_s < self.gap_s and embedding < self.embedding and color < self.color


# Measured: a man who turns his head in a car, a face of 60 px, is up to 0.59 from himself in the embedding,
# 0.34 in colors, but at most 0.49 and 0.27 from one window to the next. Of pairs of people who stand in one
# place before one camera, 97 in 100 differ by more than 0.31 in colors.
SAME_PLACE_LIMITS = (
    SamePlaceLimits(gap_s=20.0, embedding=0.6, color=0.3),
    SamePlaceLimits(gap_s=20.0, embedding=0.4, color=0.42),
    SamePlaceLimits(gap_s=1.0, embedding=0.5, color=0.42),
)
SAME_PLACE_OVERLAP = 0.3
"""Overlap (IoU) of the boxes of a face that stays in place."""
_NO_PORTRAIT = np.zeros((1, 1, 3), np.uint8)


@dataclass(frozen=True)
class _Group:
    """Faces of one person, and the times of the frames that show them, by window.

    `views` are kept until embeddings are needed, since most videos of one window need none. `colors` and
    `last_embedding` are those of the last face, `embedding` that of all.
    """

    faces: tuple[FaceVerdict, ...]
    seen: dict[int, npt.NDArray[np.float64]]
    views: npt.NDArray[np.uint8]
    colors: Colors
    embedding: EmbeddingCluster | None = None
    last_embedding: EmbeddingCluster | None = None

    def seen_with(self, other: _Group) -> bool:
        """Whether one frame shows both: then they are two people."""
        shared = self.seen.keys() & other.seen.keys()
        return any(bool(np.isin(self.seen[window], other.seen[window]).any()) for window in shared)

    def embedded(self) -> _Group:
        """Return the group with its embedding, unless it has no views."""
        if self.embedding or not len(self.views):
            return self
        embedding = EmbeddingCluster(embed_face(self.views))
        return replace(self, embedding=embedding, last_embedding=embedding, views=NO_VIEWS)

    def distance_to_next(self, face: _Group) -> float:
        """Return the distance of a later face's colors from the last one's, if it can be the same person who
        stayed in place; otherwise infinity."""
        last, first = self.faces[-1].sightings[-1], face.faces[0].sightings[0]
        gap_s = first.pts_seconds[0] - last.pts_seconds[-1]
        if gap_s <= 0 or _overlap(last, first) < SAME_PLACE_OVERLAP or self.seen_with(face):
            return np.inf
        if not self.last_embedding or not face.embedding:
            return np.inf
        embedding = self.last_embedding.distance(face.embedding)
        color = color_distance(self.colors, face.colors)
        stayed = any(
            limits.admits(gap_s=gap_s, embedding=embedding, color=color) for limits in SAME_PLACE_LIMITS
        )
        return color if stayed else np.inf


class PersonLinker:
    """Links faces by their appearance, over all windows at once. Windows are added in the order of the video.

    Up to `most_groups` faces wait for that; beyond, close ones are merged at once, so that a long video costs
    neither memory nor time quadratic in its number of faces.
    """

    def __init__(self, most_groups: int = 256) -> None:
        self._groups: list[_Group] = []
        self._windows = 0
        self._most_groups = self._limit = most_groups

    def add(self, faces: tuple[FaceVerdict, ...]) -> None:
        """Add the faces of the next window."""
        new = [self._group(face) for face in sorted(faces, key=_start)]
        if (new and self._groups) or not _different_people(new).all():
            self._groups = [group.embedded() for group in self._groups]
            new = [group.embedded() for group in new]
        for group in new:
            distances = [known.distance_to_next(group) for known in self._groups]
            if distances and min(distances) < np.inf:
                nearest = int(np.argmin(distances))
                self._groups[nearest] = _join([self._groups[nearest], group])
            else:
                self._groups.append(group)
        self._windows += 1
        if len(self._groups) > self._limit:
            self._groups = _link(self._groups)
            self._limit = max(self._most_groups, 2 * len(self._groups))

    def _group(self, face: FaceVerdict) -> _Group:
        (sighting,) = face.sightings
        seen = {self._windows: sighting.pts_seconds}
        return _Group((replace(face, views=NO_VIEWS),), seen, face.views, color_histogram(face.portrait))

    def verdicts(self) -> tuple[FaceVerdict, ...]:
        """Return every person as one FaceVerdict, in the order of appearance."""
        self._groups = _link(self._groups)
        return tuple(_merge(index, group.faces) for index, group in enumerate(self._groups))


def _different_people(groups: Sequence[_Group]) -> npt.NDArray[np.bool_]:
    """Return [N, N] bool: groups that share a frame, and each group with itself."""
    pairs = [[one is other or one.seen_with(other) for other in groups] for one in groups]
    return np.array(pairs, bool).reshape(len(groups), len(groups))


def _link(groups: list[_Group]) -> list[_Group]:
    """Link groups into one for each person, in the order of their first faces."""
    cannot_link = _different_people(groups)
    if cannot_link.all():  # nothing to link
        return groups
    known = [group.embedded() for group in groups]
    clusters = [(index, group.embedding) for index, group in enumerate(known) if group.embedding]
    seen = [index for index, _ in clusters]
    linked = link_clusters([cluster for _, cluster in clusters], cannot_link[np.ix_(seen, seen)])
    persons = [[seen[index] for index in person] for person in linked]
    persons += [[index] for index, group in enumerate(known) if not group.embedding]
    return [_join([known[index] for index in person]) for person in sorted(persons)]


def _join(groups: Sequence[_Group]) -> _Group:
    """Return one group of several of the same person, with the clearest portrait."""
    if len(groups) == 1:
        return groups[0]
    faces = sorted((face for group in groups for face in group.faces), key=_start)
    clearest = max(faces, key=lambda face: (len(face.portrait) > 1, face.face_px))
    last = max(groups, key=lambda group: _start(group.faces[-1]))
    seen: dict[int, npt.NDArray[np.float64]] = {}
    for group in groups:
        for window, times in group.seen.items():
            seen[window] = np.concatenate([seen[window], times]) if window in seen else times
    return _Group(
        faces=tuple(face if face is clearest else _without_portrait(face) for face in faces),
        seen=seen,
        views=NO_VIEWS,
        colors=last.colors,
        last_embedding=last.last_embedding,
        embedding=functools.reduce(
            EmbeddingCluster.join, [group.embedding for group in groups if group.embedding]
        ),
    )


def _without_portrait(face: FaceVerdict) -> FaceVerdict:
    return replace(face, portrait=_NO_PORTRAIT) if len(face.portrait) > 1 else face


def _start(face: FaceVerdict) -> float:
    return float(face.sightings[0].pts_seconds[0])


def _overlap(before: Sighting, after: Sighting) -> float:
    boxes = (before.boxes[-1:].astype(np.float64), after.boxes[:1].astype(np.float64))
    return float(box_overlap(*boxes)[0, 0])


def _merge(index: int, faces: Sequence[FaceVerdict]) -> FaceVerdict:
    """Return the faces of one person as one; the probability is the mean over all frames that show them."""
    if len(faces) == 1:
        return replace(faces[0], track=index)
    counts = np.array([face.frames_observed for face in faces])
    probability = float(np.average([face.fake_probability for face in faces], weights=counts))
    clearest = max(faces, key=lambda face: len(face.portrait))
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
        blockiness=float(np.median([face.blockiness for face in faces])),
    )
