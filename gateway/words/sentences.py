"""Verdicts in sentences: words before numbers, the direction of the scale, and what the model cannot see."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from deepfake_triton.client.verdicts.verdict import (
    UNCERTAIN,
    FaceVerdict,
    ModelInfo,
    Segment,
    Verdict,
    VideoVerdict,
)
from deepfake_triton.gateway.words.texts import Texts
from deepfake_triton.gateway.words.times import merged_spans, span
from deepfake_triton.operating_point import OperatingPoint

_SHOWN_SPANS = 4
"""More parts of a video are counted, not listed."""

_STILL_SECONDS = 1.0
"""Containers of photos tell a duration too: 0.04 s a JPEG, 1 s an AVIF file."""


class Reading(str, Enum):
    """How a probability reads: by the thresholds, or not at all."""

    FAKE = "fake"
    REAL = "real"
    UNCERTAIN = "uncertain"
    UNJUDGED = "unjudged"


def reading_of(subject: VideoVerdict | FaceVerdict, model: ModelInfo) -> Reading:
    """Return how the verdict on a video or a person reads; nothing reads by untrained weights."""
    if model.weights == "untrained" or subject.verdict is None:
        return Reading.UNJUDGED
    if subject.verdict is Verdict.INCONCLUSIVE:
        return Reading.UNCERTAIN if subject.reason == UNCERTAIN else Reading.UNJUDGED
    return Reading.FAKE if subject.verdict is Verdict.FAKE else Reading.REAL


def reading_of_window(segment: Segment, face: FaceVerdict, model: ModelInfo) -> Reading:
    """Return how the probability of one window reads."""
    if model.weights == "untrained" or not face.shows_enough:
        return Reading.UNJUDGED
    return Reading(model.thresholds.verdict_on(segment.fake_probability).lower())


def is_picture(verdict: VideoVerdict) -> bool:
    """Whether the file is one picture: one frame was judged, and that was the whole file."""
    ends = [segment.end_seconds for face in verdict.faces for segment in face.segments]
    return verdict.frames_decoded == 1 and verdict.duration_seconds <= max(_STILL_SECONDS, *ends, 0.0)


def person_number(face: FaceVerdict) -> int:
    """Return the number of a person for people, from 1."""
    return face.track + 1


def verdict_sentence(verdict: VideoVerdict, texts: Texts) -> str:
    """Return the verdict on a video in one sentence without a full stop, such as `Signs of manipulation at
    0:03–0:04, person 2`."""
    reading = reading_of(verdict, verdict.model)
    if verdict.model.weights == "untrained":
        return texts("verdict.untrained")
    if reading is Reading.FAKE:
        return _fake_sentence(verdict, texts)
    if reading is Reading.UNJUDGED:
        return texts.first(f"verdict.{verdict.reason}", "verdict.not_judged")
    return texts(f"verdict.{reading.value}")


def person_sentence(face: FaceVerdict, verdict: VideoVerdict, texts: Texts) -> str:
    """Return the verdict on one person in one sentence."""
    reading = reading_of(face, verdict.model)
    if verdict.model.weights == "untrained":
        return texts("person.untrained")
    if reading is Reading.FAKE and not is_picture(verdict):
        return texts("person.fake_at", times=suspicious_times(face, verdict.model.thresholds, texts))
    if reading is Reading.UNJUDGED:
        return texts.first(f"person.{face.reason}", "person.not_judged")
    return texts(f"person.{reading.value}")


def suspicious_times(face: FaceVerdict, thresholds: OperatingPoint, texts: Texts) -> str:
    """List the times of the windows whose probability is enough for FAKE, merged where they touch."""
    parts = [
        (segment.start_seconds, segment.end_seconds)
        for segment in face.segments
        if thresholds.is_fake(segment.fake_probability)
    ]
    spans = [span(start, end) for start, end in merged_spans(parts)]
    listed = ", ".join(spans[:_SHOWN_SPANS])
    more = len(spans) - _SHOWN_SPANS
    return texts("times.more", times=listed, count=more) if more > 0 else listed


def scale_sentence(thresholds: OperatingPoint, texts: Texts) -> str:
    """Spell out the direction of the scale, and the thresholds."""
    fake, real = f"{thresholds.fake_at_least:.3g}", f"{thresholds.real_at_most:.3g}"
    if thresholds.fake_at_least == thresholds.real_at_most:
        return texts("scale.direction_two", fake=fake)
    return texts("scale.direction", fake=fake, real=real)


def error_sentence(error_type: str, texts: Texts) -> str:
    """Return what a type of errors.py means, in words for anyone."""
    return texts.first(f"error.{error_type}", "error.other")


def notes_on(verdict: VideoVerdict, texts: Texts) -> tuple[str, ...]:
    """Return what a reader must know beside the verdict: parts that were not judged, moments that stand out
    though the verdict does not say so."""
    notes: list[str] = []
    if verdict.fault:
        notes.append(texts("note.truncated"))
    if verdict.faces_left_out:
        notes.append(texts("note.left_out", count=verdict.faces_left_out))
    if verdict.model.weights != "untrained":
        standing_out = _persons_at_times(_unsuspected(verdict), verdict, texts)
        if standing_out and not is_picture(verdict):
            notes.append(texts("note.single_windows", persons=standing_out))
    return tuple(notes)


def model_limits(model: ModelInfo, texts: Texts) -> tuple[str, ...]:
    """Return what the model cannot see, as its card says; of other weights than the default ones no more is
    known than that they judge faces."""
    if model.weights == "untrained":
        return (texts("limits.untrained"),)
    if model.weights != "default":
        return (texts("limits.faces"), texts("limits.custom"))
    keys = ("limits.faces", "limits.misses", "limits.alarms", "limits.quality", "limits.people")
    return tuple(texts(key) for key in keys)


def _fake_sentence(verdict: VideoVerdict, texts: Texts) -> str:
    suspected = [face for face in verdict.faces if face.verdict is Verdict.FAKE]
    if not suspected:
        return texts("verdict.fake")
    has_one, first = len(verdict.faces) == 1, person_number(suspected[0])
    if is_picture(verdict):
        if has_one:
            return texts("verdict.fake_picture")
        if len(suspected) == 1:
            return texts("verdict.fake_picture_person", person=first)
        named = ", ".join(texts("verdict.person", person=person_number(face)) for face in suspected)
        return texts("verdict.fake_persons", persons=named)
    if len(suspected) == 1:
        times = suspicious_times(suspected[0], verdict.model.thresholds, texts)
        key = "verdict.fake_at" if has_one else "verdict.fake_person"
        return texts(key, times=times, person=first)
    return texts("verdict.fake_persons", persons=_persons_at_times(suspected, verdict, texts))


def _unsuspected(verdict: VideoVerdict) -> list[FaceVerdict]:
    """Return the judged persons that are not called FAKE, but have a window that would be."""
    is_fake = verdict.model.thresholds.is_fake
    return [
        face
        for face in verdict.faces
        if face.shows_enough
        and face.verdict is not Verdict.FAKE
        and any(is_fake(segment.fake_probability) for segment in face.segments)
    ]


def _persons_at_times(faces: Iterable[FaceVerdict], verdict: VideoVerdict, texts: Texts) -> str:
    thresholds = verdict.model.thresholds
    return "; ".join(
        texts(
            "verdict.person_at",
            person=person_number(face),
            times=suspicious_times(face, thresholds, texts),
        )
        for face in faces
    )
