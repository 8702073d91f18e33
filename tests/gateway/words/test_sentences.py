"""Verdicts with a known answer, in the words that people read."""

from __future__ import annotations

from dataclasses import replace

import pytest
from gateway_verdicts import model, person, verdict

from deepfake_triton.gateway.words.sentences import (
    Reading,
    error_sentence,
    is_picture,
    model_limits,
    notes_on,
    person_sentence,
    reading_of,
    scale_sentence,
    verdict_sentence,
)
from deepfake_triton.gateway.words.texts import texts_for
from deepfake_triton.gateway.words.times import (
    clock,
    duration_text,
    merged_spans,
    precise_span,
    probability_text,
    size_text,
    span,
)

pytestmark = pytest.mark.fast
T = texts_for("en")


def test_a_forged_person_is_named_with_the_time() -> None:
    told = verdict(person(0, [(3, 0.1), (40, 0.1)]), person(1, [(3.2, 0.9), (40, 0.4)]))
    assert verdict_sentence(told, T) == "Signs of manipulation at 0:03–0:05, person 2"
    assert person_sentence(told.faces[0], told, T) == "No sign of manipulation found"
    assert person_sentence(told.faces[1], told, T) == "Signs of manipulation at 0:03–0:05"


def test_the_only_person_needs_no_number_and_touching_windows_are_one() -> None:
    told = verdict(person(0, [(3, 0.9), (4, 0.6), (30, 0.5), (50, 0.1)]))
    assert verdict_sentence(told, T) == "Signs of manipulation at 0:03–0:05, 0:30–0:31"


def test_two_forged_persons_are_both_named() -> None:
    told = verdict(person(0, [(1, 0.9)]), person(1, [(7, 0.8)]))
    assert verdict_sentence(told, T) == "Signs of manipulation: person 1 at 0:01–0:02; person 2 at 0:07–0:08"


def test_many_times_are_counted() -> None:
    told = verdict(person(0, [(10 * i, 0.9) for i in range(6)]))
    assert verdict_sentence(told, T).endswith("0:30–0:31 and 2 more")


def test_no_sign_uncertain_and_every_reason_why_not() -> None:
    assert verdict_sentence(verdict(person(0, [(0, 0.1)])), T) == "No sign of manipulation found"
    unsure = verdict(person(0, [(0, 0.4)]))
    assert verdict_sentence(unsure, T).startswith("Uncertain") and reading_of(unsure, model()) == "uncertain"
    assert verdict_sentence(verdict(), T) == "Cannot judge: no face was found"
    small = verdict(person(0, [(0, 0.9)], face_px=20))
    assert verdict_sentence(small, T) == "Cannot judge: the face is too small"
    assert person_sentence(small.faces[0], small, T) == "Not judged: the face is too small"
    assert reading_of(small, model()) is Reading.UNJUDGED
    blurred = verdict(person(0, [(0, 0.9)], sharpness=1))
    assert verdict_sentence(blurred, T).startswith("Cannot judge: the face is too blurred")
    brief = verdict(faces_left_out=2)
    assert verdict_sentence(brief, T) == "Cannot judge: the face is seen too briefly"


def test_a_picture_has_no_times() -> None:
    told = verdict(person(0, [(0, 0.9)]), frames_decoded=1, duration_seconds=1.0)
    assert verdict_sentence(told, T) == "Signs of manipulation in this picture"


def test_untrained_weights_give_no_verdict() -> None:
    told = verdict(person(0, [(0, 0.99)]), model=model("untrained"))
    assert verdict_sentence(told, T).startswith("No verdict")
    assert reading_of(told, told.model) is Reading.UNJUDGED
    assert model_limits(told.model, T) == ("These weights were never trained: they see nothing at all.",)


def test_notes_tell_what_was_left_out_and_single_windows() -> None:
    told = verdict(person(0, [(0, 0.05), (10, 0.6), (20, 0.05)]), fault="ends early", faces_left_out=3)
    truncated, left_out, single = notes_on(told, T)
    assert truncated.startswith("Only a part of the file")
    assert left_out.endswith(": 3.")
    assert "person 1 at 0:10–0:11" in single
    assert notes_on(verdict(person(0, [(0, 0.1)])), T) == ()


def test_the_scale_is_spelt_out() -> None:
    said = scale_sentence(model().thresholds, T)
    assert said == "0 = no sign, 1 = strong signs; FAKE from 0.5, REAL up to 0.27; in between: uncertain."
    assert "in between" not in scale_sentence(model(real=0.5).thresholds, T)


def test_limits_are_those_of_the_weights() -> None:
    assert len(model_limits(model(), T)) == 5
    assert "model card" in model_limits(model("custom"), T)[1]


def test_errors_in_words() -> None:
    assert error_sentence("NotAVideo", T) == T("error.NotAVideo")
    assert error_sentence("SomethingNew", T) == T("error.other")


def test_times_sizes_and_probabilities() -> None:
    assert [clock(value) for value in (0, 59.99, 60, 3725)] == ["0:00", "0:59", "1:00", "1:02:05"]
    assert span(3.2, 4.0) == "0:03–0:04" and span(3.0, 3.04) == "0:03–0:04"
    assert precise_span(59.94, 60.0) == "0:59.9–1:00.0" and duration_text(4.8) == "0:05"
    assert merged_spans([(5, 6), (0, 0.8), (0.8, 1.6)]) == [(0, 1.6), (5, 6)]
    assert [probability_text(value) for value in (0, 0.5, 1)] == ["< 0.01", "0.50", "> 0.99"]
    assert size_text(2**31) == "2 GB" and size_text(15_000_000) == "14.3 MB"


@pytest.mark.parametrize(
    ("frames", "duration_seconds", "window_seconds", "expected"),
    [(1, 0.04, 0.04, True), (1, 5.0, 5.0, True), (1, 60.0, 0.04, False), (20, 0.8, 0.8, False)],
)
def test_a_still_is_one_frame_that_is_the_whole_file(
    frames: int, duration_seconds: float, window_seconds: float, expected: bool
) -> None:
    seen = person(0, [(0, 0.9)])
    seen = replace(seen, segments=(replace(seen.segments[0], end_seconds=window_seconds),))
    told = verdict(seen, frames_decoded=frames, duration_seconds=duration_seconds)
    assert is_picture(told) == expected
    assert is_picture(replace(told, faces=())) == (frames == 1 and duration_seconds < 1)
