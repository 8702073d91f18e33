"""A verdict as a person reads it on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deepfake_triton.client.verdict import FaceVerdict, VideoVerdict
from deepfake_triton.terminal import printable

UNTRAINED_WARNING = "untrained weights: this verdict means nothing"


def verdict_text(verdict: VideoVerdict) -> str:
    """Several lines: the verdict, every face, the model and the time taken."""
    return "\n".join(
        [
            f"{printable(verdict.video)}: {_headline(verdict)}",
            *(_face_line(face, verdict.frames_decoded) for face in verdict.faces),
            f"  model   {_model(verdict)}",
            f"  time    decode {verdict.latency_ms.decode:.0f} ms, infer {verdict.latency_ms.infer:.0f} ms",
        ]
    )


def line_text(line: Mapping[str, Any]) -> str:
    """One line for a verdict of an earlier run, from its documented JSON."""
    probability = line["fake_probability"]
    return (
        f"{printable(line['video'])}: {_said(line['verdict'], line['reason'], probability)} (judged before)"
    )


def _headline(verdict: VideoVerdict) -> str:
    headline = _said(verdict.verdict.value, verdict.reason, verdict.fake_probability)
    return f"{headline} ({UNTRAINED_WARNING})" if verdict.model.weights == "untrained" else headline


def _said(verdict: str, reason: str | None, probability: float | None) -> str:
    return (
        f"{verdict} ({reason})"
        if probability is None
        else f"{verdict}, probability of FAKE {probability:.3f}"
    )


def _face_line(face: FaceVerdict, num_frames: int) -> str:
    first, last = face.segments[0], face.segments[-1]
    x1, y1, x2, y2 = face.box
    line = (
        f"  face {face.track}  {face.fake_probability:.3f}, "
        f"seen in {face.frames_observed} of {num_frames} frames, "
        f"{first.start_seconds:.2f}–{last.end_seconds:.2f} s, "
        f"first at x {x1:.0f}–{x2:.0f}, y {y1:.0f}–{y2:.0f}"
    )
    if len(face.segments) > 1:
        highest = max(face.segments, key=lambda segment: segment.fake_probability)
        line += (
            f"; {len(face.segments)} windows, highest {highest.fake_probability:.3f} "
            f"at {highest.start_seconds:.2f} s"
        )
    return line


def _model(verdict: VideoVerdict) -> str:
    model = verdict.model
    return printable(f"{model.name} version {model.version}, {model.weights} weights")
