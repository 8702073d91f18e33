"""From the faces of each frame to tracks of people through a clip."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from deepfake_triton.preprocessing.detections import FaceRule, box_area, box_overlap

Boxes = npt.NDArray[np.float64]

MIN_LINK_OVERLAP = 0.3
"""A face and a track's expected place that overlap less are not linked."""
MAX_MISSED_SHARE = 0.25
MIN_MISSED_FRAMES = 4
"""A face that stays away longer than this share of the clip, or than so many frames, comes back as new."""
VELOCITY_OBSERVATIONS = 4
"""A track's speed is measured over this many of its last sightings."""


@dataclass(frozen=True)
class FaceTrack:
    """One person through a clip: box [T, 4] in each frame, and whether the face was seen there.

    Where `observed` is false, the box is the one of the nearest frame in which it was seen.
    """

    boxes: Boxes
    observed: npt.NDArray[np.bool_]
    nearest: npt.NDArray[np.intp]
    """For each frame, the nearest frame in which the face was seen (itself where it was)."""


@dataclass
class _OpenTrack:
    frames: list[int] = field(default_factory=list)
    boxes: list[Boxes] = field(default_factory=list)

    def expected_box(self, frame: int) -> Boxes:
        """The last box, moved on at the track's recent speed; crossing people keep their own way."""
        recent = self.boxes[-VELOCITY_OBSERVATIONS:]
        elapsed = self.frames[-1] - self.frames[-len(recent)]
        if elapsed == 0:
            return self.boxes[-1]
        moved = (recent[-1][:2] + recent[-1][2:] - recent[0][:2] - recent[0][2:]) / 2
        shift: Boxes = np.tile(moved * (frame - self.frames[-1]) / elapsed, 2)
        return self.boxes[-1] + shift


def tracks_from_faces(faces_per_frame: list[Boxes], rule: FaceRule) -> list[FaceTrack]:
    """Link faces across frames by box overlap, best pair first.

    `faces_per_frame` holds for each of T frames the boxes [N, 4] found there. A track first looks for its
    face where its speed leads, then where it was last seen. Tracks come most often seen first, then
    largest; at most `rule.max_faces`, and none seen in under `rule.min_observed_share` of the frames.
    """
    tracks: list[_OpenTrack] = []
    longest_gap = max(MIN_MISSED_FRAMES, int(MAX_MISSED_SHARE * len(faces_per_frame)))
    for frame, faces in enumerate(faces_per_frame):
        free = list(range(len(faces)))
        waiting = [i for i, track in enumerate(tracks) if frame - track.frames[-1] <= longest_gap + 1]
        for by_speed in (True, False):
            expected = [tracks[i].expected_box(frame) if by_speed else tracks[i].boxes[-1] for i in waiting]
            pairs = _best_pairs(expected, faces[free])
            linked = [(waiting[place], free[which]) for place, which in pairs]
            for index, face in linked:
                tracks[index].frames.append(frame)
                tracks[index].boxes.append(faces[face])
            waiting = [index for index in waiting if index not in {track for track, _ in linked}]
            free = [face for face in free if face not in {taken for _, taken in linked}]
        tracks.extend(_OpenTrack([frame], [faces[face]]) for face in free)

    num_frames = len(faces_per_frame)
    kept = [track for track in tracks if len(track.frames) >= rule.min_observed_share * num_frames]
    kept.sort(key=lambda track: (-len(track.frames), -_total_area(track), track.frames[0]))
    return [_filled(track, num_frames) for track in kept[: rule.max_faces]]


def _best_pairs(expected: list[Boxes], faces: Boxes) -> list[tuple[int, int]]:
    """Pairs (expected box, face) by falling overlap, each at most once; ties go to the lower index."""
    if not expected or not len(faces):
        return []
    overlap = box_overlap(np.stack(expected), faces)
    rows, columns = np.nonzero(overlap >= MIN_LINK_OVERLAP)
    order = np.argsort(-overlap[rows, columns], kind="stable")
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if row not in pairs and column not in taken:
            pairs[row] = column
            taken.add(column)
    return list(pairs.items())


def _total_area(track: _OpenTrack) -> float:
    return float(np.sum(box_area(np.stack(track.boxes))))


def _filled(track: _OpenTrack, num_frames: int) -> FaceTrack:
    frames = np.asarray(track.frames)
    distance = np.abs(np.arange(num_frames)[:, None] - frames[None, :])
    source = np.argmin(distance, axis=1)  # the earlier frame on a tie
    observed = np.zeros(num_frames, dtype=np.bool_)
    observed[frames] = True
    return FaceTrack(boxes=np.stack(track.boxes)[source], observed=observed, nearest=frames[source])
