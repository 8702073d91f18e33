"""Track association: greedy matching of faces and tracks by IoU with the predicted box.

Tracks are then split and merged by appearance (`track_linking`), and filled (`track_filling`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deepfake_triton.arrays import Boxes
from deepfake_triton.preprocessing.cuts import ClipAppearance, shot_indices
from deepfake_triton.preprocessing.detected_frames import FrameIndices
from deepfake_triton.preprocessing.detections import FaceRule, box_area, box_overlap
from deepfake_triton.preprocessing.track_filling import ClipTimeline, FaceTrack, fill_track
from deepfake_triton.preprocessing.track_linking import Observations, link_tracks, split_track

MIN_ASSOCIATION_IOU = 0.3
"""Minimum intersection over union (IoU) of a face and a track's predicted box to be associated."""
MAX_MISSED_SHARE = 0.25
MIN_MISSED_FRAMES = 4
"""Maximum gap of a track, as a share of the clip's frames and at least in frames: a face that is missing for
longer starts a new track. Being missed in one detected frame is no gap, however far apart those are."""
VELOCITY_FRAMES = 3
"""Number of frames over which a track's velocity is estimated: its last observations."""
MOVED_SHARE = 0.5
"""Where frames are skipped, boxes without a match are enlarged on each side by this share of their side: a
face that moved by its own side since the last detection still overlaps itself by MIN_ASSOCIATION_IOU."""


@dataclass(frozen=True)
class TrackingResult:
    """The tracks of a clip, and the number of people without one: `left_out` counts those beyond
    `FaceRule.max_faces`, and those in too few frames but in `FaceRule.min_left_out_frames` or more."""

    tracks: tuple[FaceTrack, ...]
    left_out: int


@dataclass
class _OpenTrack:
    """The observations of one person: frame, index among the faces of the frame, and box, and the track that
    IoU alone linked each to."""

    frames: list[int]
    faces: list[int]
    boxes: list[Boxes]
    places: list[int]

    def add(self, frame: int, face: int, box: Boxes) -> None:
        self.frames.append(frame)
        self.faces.append(face)
        self.boxes.append(box)
        self.places.append(self.places[-1])

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
            [self.places[index] for index in indices],
        )

    def predicted_box(self, frame: int, interval: int) -> Boxes:
        """Return the last box, moved on at the track's recent velocity, so that crossing people keep their
        tracks."""
        recent = self.boxes[-1 - -(-VELOCITY_FRAMES // interval) :]
        elapsed = self.frames[-1] - self.frames[-len(recent)]
        if elapsed == 0:
            return self.boxes[-1]
        moved = (recent[-1][:2] + recent[-1][2:] - recent[0][:2] - recent[0][2:]) / 2
        shift: Boxes = np.tile(moved * (frame - self.frames[-1]) / elapsed, 2)
        return self.boxes[-1] + shift


def tracks_from_faces(
    faces_per_frame: list[Boxes], rule: FaceRule, detected: FrameIndices | None = None
) -> list[FaceTrack]:
    """Track faces by IoU alone, as `track_faces` does without `appearance`."""
    return list(track_faces(faces_per_frame, rule, detected=detected).tracks)


def track_faces(
    faces_per_frame: list[Boxes],
    rule: FaceRule,
    appearance: ClipAppearance | None = None,
    *,
    detected: FrameIndices | None = None,
) -> TrackingResult:
    """Associate faces across frames greedily by IoU, best pair first, and then by `appearance`.

    `faces_per_frame` holds the boxes [N, 4] in px found in each of T frames: none in those that are not among
    the `detected` ones (rising indices, the first and the last frame among them; None: all). A track first
    looks for its face where its velocity leads, then where it was last observed, then, if frames are skipped,
    around there; `appearance` then tells who was replaced in place, and who came back elsewhere. Tracks come
    most often observed first, then largest; at most `rule.max_faces`, and none observed in too few frames.
    """
    num_frames = len(faces_per_frame)
    timeline = ClipTimeline(
        np.zeros(num_frames, np.intp) if appearance is None else shot_indices(appearance),
        np.arange(num_frames) if detected is None else detected,
    )
    tracks = _associate_by_iou(faces_per_frame, timeline.interval)
    if appearance is not None and tracks:
        tracks = _relink_by_appearance(tracks, appearance, timeline.interval)
    kept, dropped = list[_OpenTrack](), list[_OpenTrack]()
    for track in tracks:
        (kept if _is_observed_enough(track, timeline, rule) else dropped).append(track)
    kept.sort(key=lambda track: (-len(track.frames), -_total_area(track), track.frames[0]))
    left_out = max(0, len(kept) - rule.max_faces)
    left_out += sum(len(track.frames) >= rule.min_left_out_frames for track in dropped)
    tracks_of_clip = tuple(
        fill_track(track.frames, track.boxes, track.places, timeline=timeline)
        for track in kept[: rule.max_faces]
    )
    return TrackingResult(tracks_of_clip, left_out)


def _associate_by_iou(faces_per_frame: list[Boxes], interval: int) -> list[_OpenTrack]:
    tracks: list[_OpenTrack] = []
    max_gap = max(MIN_MISSED_FRAMES, int(MAX_MISSED_SHARE * len(faces_per_frame)), 2 * interval - 1)
    for frame, faces in enumerate(faces_per_frame):
        free = list(range(len(faces)))
        waiting = [i for i, track in enumerate(tracks) if frame - track.frames[-1] <= max_gap + 1]
        for predict, margin in ((True, 0.0), (False, 0.0), (False, MOVED_SHARE))[: 2 if interval == 1 else 3]:
            expected = [
                tracks[i].predicted_box(frame, interval) if predict else tracks[i].boxes[-1] for i in waiting
            ]
            pairs = _match_greedily(expected, faces[free], margin)
            linked = [(waiting[place], free[which]) for place, which in pairs]
            for index, face in linked:
                tracks[index].add(frame, face, faces[face])
            waiting = [index for index in waiting if index not in {track for track, _ in linked}]
            free = [face for face in free if face not in {taken for _, taken in linked}]
        first = len(tracks)
        tracks.extend(
            _OpenTrack([frame], [face], [faces[face]], [first + index]) for index, face in enumerate(free)
        )
    return tracks


def _relink_by_appearance(
    tracks: list[_OpenTrack], appearance: ClipAppearance, interval: int
) -> list[_OpenTrack]:
    """Split tracks in which one person replaces another, and merge those of one person."""
    people = [
        (place, track.select(group))
        for place, track in enumerate(tracks)
        for group in split_track(appearance, track.observations, interval)
    ]
    places, parts = zip(*people, strict=True)
    groups = link_tracks(appearance, [part.observations for part in parts], places)
    return [_merge([parts[index] for index in group]) for group in groups]


def _merge(tracks: list[_OpenTrack]) -> _OpenTrack:
    """Merge tracks that share no frame."""
    observations = sorted(
        (frame, face, tuple(box), place)
        for track in tracks
        for frame, face, box, place in zip(track.frames, track.faces, track.boxes, track.places, strict=True)
    )
    frames, faces, boxes, places = zip(*observations, strict=True)
    return _OpenTrack(list(frames), list(faces), [np.array(box) for box in boxes], list(places))


def _is_observed_enough(track: _OpenTrack, timeline: ClipTimeline, rule: FaceRule) -> bool:
    """Whether the frames that a track's observations stand for reach a share of those of its shots, with a
    floor for brief shots; and whether it was detected twice, where its shots allow it: once may be a false
    positive."""
    shots = set(timeline.shots[track.frames].tolist())
    frames_of_shots = sum(timeline.shot_sizes[shot] for shot in shots)
    floor = min(rule.min_observed_share * timeline.num_frames, rule.min_observed_frames)
    minimum = max(rule.min_observed_share * frames_of_shots, floor)
    twice = min(minimum, 2, sum(timeline.detected_in_shots[shot] for shot in shots))
    represented = sum(timeline.represented[frame] for frame in track.frames)
    return bool(represented >= minimum and len(track.frames) >= twice)


def _match_greedily(expected: list[Boxes], faces: Boxes, margin: float) -> list[tuple[int, int]]:
    """Return pairs (expected box, face) by falling IoU, each at most once; ties go to the lower index. Boxes
    are enlarged on each side by `margin` sides."""
    if not expected or not len(faces):
        return []
    iou = box_overlap(_enlarge(np.stack(expected), margin), _enlarge(faces, margin))
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


def _enlarge(boxes: Boxes, margin: float) -> Boxes:
    sides = boxes[:, 2:] - boxes[:, :2]
    return boxes + margin * np.hstack([-sides, sides])
