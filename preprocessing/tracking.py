"""Track association: greedy matching of faces and tracks by IoU with the predicted box.

Tracks are then split and merged by appearance (`track_linking`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Boxes
from deepfake_triton.preprocessing.cuts import ClipAppearance, shot_indices
from deepfake_triton.preprocessing.detections import FaceRule, box_area, box_overlap
from deepfake_triton.preprocessing.track_linking import Observations, link_tracks, split_track

MIN_ASSOCIATION_IOU = 0.3
"""Minimum intersection over union (IoU) of a face and a track's predicted box to be associated."""
MAX_MISSED_SHARE = 0.25
MIN_MISSED_FRAMES = 4
"""Maximum gap of a track, as a share of the clip's frames and at least in frames: a face that is missing for
longer starts a new track."""
VELOCITY_OBSERVATIONS = 4
"""Number of a track's last observations from which its velocity is estimated."""


@dataclass(frozen=True)
class FaceTrack:
    """One person through a clip of T frames: `boxes` [T, 4] in px, and whether each was `observed` [T].

    An unobserved frame has the box of the nearest observed one, whose index `nearest` [T] gives (that of the
    frame itself where it was observed).
    """

    boxes: Boxes
    observed: npt.NDArray[np.bool_]
    nearest: npt.NDArray[np.intp]


@dataclass(frozen=True)
class TrackingResult:
    """The tracks of a clip, and the number of people without one: `left_out` counts those beyond
    `FaceRule.max_faces`, and those in too few frames but in `FaceRule.min_left_out_frames` or more."""

    tracks: tuple[FaceTrack, ...]
    left_out: int


@dataclass
class _OpenTrack:
    """The observations of one person: frame, index among the faces of the frame, and box."""

    frames: list[int]
    faces: list[int]
    boxes: list[Boxes]

    def add(self, frame: int, face: int, box: Boxes) -> None:
        self.frames.append(frame)
        self.faces.append(face)
        self.boxes.append(box)

    @property
    def observations(self) -> Observations:
        """Frames and faces, without the boxes."""
        return Observations(self.frames, self.faces)

    def select(self, indices: Sequence[int]) -> _OpenTrack:
        """Return a track of some of the observations."""
        return _OpenTrack(
            [self.frames[index] for index in indices],
            [self.faces[index] for index in indices],
            [self.boxes[index] for index in indices],
        )

    def predicted_box(self, frame: int) -> Boxes:
        """Return the last box, moved on at the track's recent velocity, so that crossing people keep their
        tracks."""
        recent = self.boxes[-VELOCITY_OBSERVATIONS:]
        elapsed = self.frames[-1] - self.frames[-len(recent)]
        if elapsed == 0:
            return self.boxes[-1]
        moved = (recent[-1][:2] + recent[-1][2:] - recent[0][:2] - recent[0][2:]) / 2
        shift: Boxes = np.tile(moved * (frame - self.frames[-1]) / elapsed, 2)
        return self.boxes[-1] + shift


def tracks_from_faces(faces_per_frame: list[Boxes], rule: FaceRule) -> list[FaceTrack]:
    """Track faces by IoU alone, as `track_faces` does without `appearance`."""
    return list(track_faces(faces_per_frame, rule).tracks)


def track_faces(
    faces_per_frame: list[Boxes], rule: FaceRule, appearance: ClipAppearance | None = None
) -> TrackingResult:
    """Associate faces across frames greedily by IoU, best pair first, and then by `appearance`.

    `faces_per_frame` holds the boxes [N, 4] in px found in each of T frames. A track first looks for its face
    where its velocity leads, then where it was last observed; `appearance` then tells who was replaced in
    place, and who came back elsewhere. Tracks come most often observed first, then largest; at most
    `rule.max_faces`, and none observed in too few frames.
    """
    tracks = _associate_by_iou(faces_per_frame)
    if appearance is not None and tracks:
        tracks = _relink_by_appearance(tracks, appearance)
    num_frames = len(faces_per_frame)
    shots = np.zeros(num_frames, np.intp) if appearance is None else shot_indices(appearance)
    kept, dropped = list[_OpenTrack](), list[_OpenTrack]()
    for track in tracks:
        (kept if len(track.frames) >= _min_observations(track, shots, rule) else dropped).append(track)
    kept.sort(key=lambda track: (-len(track.frames), -_total_area(track), track.frames[0]))
    left_out = max(0, len(kept) - rule.max_faces)
    left_out += sum(len(track.frames) >= rule.min_left_out_frames for track in dropped)
    tracks_of_clip = tuple(_fill_gaps(track, num_frames) for track in kept[: rule.max_faces])
    return TrackingResult(tracks_of_clip, left_out)


def _associate_by_iou(faces_per_frame: list[Boxes]) -> list[_OpenTrack]:
    tracks: list[_OpenTrack] = []
    max_gap = max(MIN_MISSED_FRAMES, int(MAX_MISSED_SHARE * len(faces_per_frame)))
    for frame, faces in enumerate(faces_per_frame):
        free = list(range(len(faces)))
        waiting = [i for i, track in enumerate(tracks) if frame - track.frames[-1] <= max_gap + 1]
        for by_velocity in (True, False):
            predicted = [
                tracks[i].predicted_box(frame) if by_velocity else tracks[i].boxes[-1] for i in waiting
            ]
            pairs = _match_greedily(predicted, faces[free])
            linked = [(waiting[place], free[which]) for place, which in pairs]
            for index, face in linked:
                tracks[index].add(frame, face, faces[face])
            waiting = [index for index in waiting if index not in {track for track, _ in linked}]
            free = [face for face in free if face not in {taken for _, taken in linked}]
        tracks.extend(_OpenTrack([frame], [face], [faces[face]]) for face in free)
    return tracks


def _relink_by_appearance(tracks: list[_OpenTrack], appearance: ClipAppearance) -> list[_OpenTrack]:
    """Split tracks in which one person replaces another, and merge those of one person."""
    people = [
        (place, track.select(group))
        for place, track in enumerate(tracks)
        for group in split_track(appearance, track.observations)
    ]
    places, parts = zip(*people, strict=True)
    groups = link_tracks(appearance, [part.observations for part in parts], places)
    return [_merge([parts[index] for index in group]) for group in groups]


def _merge(tracks: list[_OpenTrack]) -> _OpenTrack:
    """Merge tracks that share no frame."""
    observations = sorted(
        (frame, face, tuple(box))
        for track in tracks
        for frame, face, box in zip(track.frames, track.faces, track.boxes, strict=True)
    )
    frames, faces, boxes = zip(*observations, strict=True)
    return _OpenTrack(list(frames), list(faces), [np.array(box) for box in boxes])


def _min_observations(track: _OpenTrack, shots: npt.NDArray[np.intp], rule: FaceRule) -> float:
    """Return the minimum number of frames of a track: a share of the frames of its shots, with a floor for
    brief shots."""
    frames_of_shots = np.isin(shots, shots[track.frames]).sum()
    floor = min(rule.min_observed_share * len(shots), rule.min_observed_frames)
    return max(rule.min_observed_share * float(frames_of_shots), floor)


def _match_greedily(predicted: list[Boxes], faces: Boxes) -> list[tuple[int, int]]:
    """Return pairs (predicted box, face) by falling IoU, each at most once; ties go to the lower index."""
    if not predicted or not len(faces):
        return []
    iou = box_overlap(np.stack(predicted), faces)
    rows, columns = np.nonzero(iou >= MIN_ASSOCIATION_IOU)
    order = np.argsort(-iou[rows, columns], kind="stable")
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if row not in pairs and column not in taken:
            pairs[row] = column
            taken.add(column)
    return list(pairs.items())


def _total_area(track: _OpenTrack) -> float:
    return float(np.sum(box_area(np.stack(track.boxes))))


def _fill_gaps(track: _OpenTrack, num_frames: int) -> FaceTrack:
    """Give unobserved frames the box of the nearest observed one, the earlier on a tie."""
    frames = np.asarray(track.frames)
    distance = np.abs(np.arange(num_frames)[:, None] - frames[None, :])
    source = np.argmin(distance, axis=1)
    observed = np.zeros(num_frames, dtype=np.bool_)
    observed[frames] = True
    return FaceTrack(boxes=np.stack(track.boxes)[source], observed=observed, nearest=frames[source])
