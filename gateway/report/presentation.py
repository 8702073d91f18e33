"""A verdict as people see it: sentences, persons with portraits, windows on a timeline."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.client.verdicts.verdict import FaceVerdict, Segment, VideoVerdict
from deepfake_triton.errors import InferenceFailed
from deepfake_triton.gateway.words.sentences import (
    Reading,
    is_picture,
    model_limits,
    notes_on,
    person_number,
    person_sentence,
    reading_of,
    reading_of_window,
    scale_sentence,
    verdict_sentence,
)
from deepfake_triton.gateway.words.texts import Texts
from deepfake_triton.gateway.words.times import duration_text, precise_span, probability_text

_PORTRAIT_QUALITY = 88
_TIMELINE_UNITS = 1000.0
"""Length of a timeline in the units of its drawing."""
_ALL = 0.95
"""With this share of a video judged, nothing worth a word lies between the windows."""
_LEAST_UNITS = 6.0
"""A shorter window would not be seen."""


@dataclass(frozen=True)
class WindowShown:
    """One judged window of a person.

    Attributes:
        reading: How its probability reads.
        start_seconds: Its start on the video's clock.
        end_seconds: Its end.
        time: Both as text.
        probability: Probability of FAKE as text; None where nothing reads by it.
        height: Probability of FAKE, 0…1.
        left: Start in the drawing, 0…1000.
        width: Length in the drawing.
        state: The reading in words.
        label: All of it in one sentence.
    """

    reading: Reading
    start_seconds: float
    end_seconds: float
    time: str
    probability: str | None
    height: float
    left: float
    width: float
    state: str
    label: str


@dataclass(frozen=True)
class PersonShown:
    """One person.

    Attributes:
        number: Number for people, from 1.
        reading: How the verdict on the person reads.
        sentence: The verdict on the person.
        probability: Mean probability of FAKE in words; None where nothing reads by it.
        portrait: JPEG as a data URI.
        timeline: What the timeline shows, for those who do not see it.
        windows: The judged windows, in order.
    """

    number: int
    reading: Reading
    sentence: str
    probability: str | None
    portrait: str
    timeline: str
    windows: tuple[WindowShown, ...]


@dataclass(frozen=True)
class Shown:
    """A verdict on one video as people see it.

    Attributes:
        reading: How it reads.
        sentence: The verdict in one sentence.
        probability: Probability of FAKE in words.
        level: Probability of FAKE, 0…1; None without one.
        fake_at_least: Threshold for FAKE.
        real_at_most: Threshold for REAL.
        scale: Direction of the scale and thresholds in words.
        point: Name of the operating point in words.
        notes: What a reader must know beside it.
        coverage: How much of the video was judged.
        persons: The persons, in order of appearance.
        duration: Duration of the video as text; None for a picture.
        model: Name, version and weights of the model.
        limits: What the model cannot see.
    """

    reading: Reading
    sentence: str
    probability: str
    level: float | None
    fake_at_least: float
    real_at_most: float
    scale: str
    point: str
    notes: tuple[str, ...]
    coverage: str
    persons: tuple[PersonShown, ...]
    duration: str | None
    model: str
    limits: tuple[str, ...]


def shown(verdict: VideoVerdict, texts: Texts) -> Shown:
    """Return a verdict as people see it."""
    model, thresholds = verdict.model, verdict.model.thresholds
    reads = verdict.fake_probability is not None and model.weights != "untrained"
    level = verdict.fake_probability if reads else None
    return Shown(
        reading=reading_of(verdict, model),
        sentence=verdict_sentence(verdict, texts),
        probability=_probability(verdict, texts),
        level=level,
        fake_at_least=thresholds.fake_at_least,
        real_at_most=thresholds.real_at_most,
        scale=scale_sentence(thresholds, texts),
        point=texts("scale.point", name=thresholds.name),
        notes=notes_on(verdict, texts),
        coverage=_coverage(verdict, texts),
        persons=tuple(_person(face, verdict, texts) for face in verdict.faces),
        duration=None if is_picture(verdict) else duration_text(verdict.duration_seconds),
        model=model_line(verdict, texts),
        limits=model_limits(model, texts),
    )


def _probability(verdict: VideoVerdict, texts: Texts) -> str:
    if verdict.model.weights == "untrained":
        return texts("scale.untrained")
    if verdict.fake_probability is None:
        return texts("scale.none")
    return texts("scale.probability", probability=probability_text(verdict.fake_probability))


def model_line(verdict: VideoVerdict, texts: Texts) -> str:
    """Return the model's name, version and weights."""
    model = verdict.model
    weights = texts.first(f"model.weights_{model.weights}", "model.weights_custom")
    return texts("model.line", name=model.name, version=model.version, weights=weights)


def portrait_uri(portrait: npt.NDArray[np.uint8]) -> str:
    """Encode a portrait [H, W, 3] uint8 RGB as the data URI of a JPEG."""
    is_encoded, data = cv2.imencode(
        ".jpg", cv2.cvtColor(portrait, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _PORTRAIT_QUALITY]
    )
    if not is_encoded:
        raise InferenceFailed(f"portrait: got the shape {portrait.shape}, which is no picture")
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")


def _coverage(verdict: VideoVerdict, texts: Texts) -> str:
    if is_picture(verdict):
        return texts("note.coverage_picture")
    duration = duration_text(verdict.duration_seconds)
    if not verdict.faces:
        return texts("note.coverage_none", frames=verdict.frames_decoded, duration=duration)
    if _judged_seconds(verdict) > _ALL * verdict.duration_seconds:
        return texts("note.coverage_all", frames=verdict.frames_decoded, duration=duration)
    return texts("note.coverage", frames=verdict.frames_decoded, duration=duration)


def _judged_seconds(verdict: VideoVerdict) -> float:
    """Return the length of all windows that show anybody, each part counted once."""
    parts = [(part.start_seconds, part.end_seconds) for face in verdict.faces for part in face.segments]
    covered, until = 0.0, 0.0
    for start, end in sorted(parts):
        covered += max(0.0, end - max(start, until))
        until = max(until, end)
    return covered


def _person(face: FaceVerdict, verdict: VideoVerdict, texts: Texts) -> PersonShown:
    number, reading = person_number(face), reading_of(face, verdict.model)
    windows = tuple(_window(segment, face, verdict, texts=texts) for segment in face.segments)
    reads = face.shows_enough and verdict.model.weights != "untrained"
    mean = probability_text(face.fake_probability)
    return PersonShown(
        number=number,
        reading=reading,
        sentence=person_sentence(face, verdict, texts),
        probability=texts("person.probability", probability=mean) if reads else None,
        portrait=portrait_uri(face.portrait),
        timeline=texts(
            "person.timeline",
            person=number,
            count=len(windows),
            duration=duration_text(verdict.duration_seconds),
        ),
        windows=windows,
    )


def _window(segment: Segment, face: FaceVerdict, verdict: VideoVerdict, *, texts: Texts) -> WindowShown:
    reading = reading_of_window(segment, face, verdict.model)
    time, number = precise_span(segment.start_seconds, segment.end_seconds), person_number(face)
    state = texts(f"window.{reading.value}")
    probability = None if reading is Reading.UNJUDGED else probability_text(segment.fake_probability)
    duration = max(verdict.duration_seconds, segment.end_seconds, 1e-3)
    left = _TIMELINE_UNITS * max(0.0, segment.start_seconds) / duration
    width = _TIMELINE_UNITS * (segment.end_seconds - segment.start_seconds) / duration
    label = (
        texts("window.label_unjudged", time=time, person=number)
        if probability is None
        else texts("window.label", time=time, person=number, state=state, probability=probability)
    )
    return WindowShown(
        reading=reading,
        start_seconds=segment.start_seconds,
        end_seconds=segment.end_seconds,
        time=time,
        probability=probability,
        height=min(1.0, max(0.0, segment.fake_probability)),
        left=min(left, _TIMELINE_UNITS - _LEAST_UNITS),
        width=max(width, _LEAST_UNITS),
        state=state,
        label=label,
    )
