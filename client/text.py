"""A verdict as a person reads it on a terminal."""

from __future__ import annotations

from deepfake_triton.client.verdict import FaceVerdict, VideoVerdict

UNTRAINED_WARNING = "untrained weights: this verdict means nothing"


def verdict_text(verdict: VideoVerdict) -> str:
    """Several lines: the verdict, every face, the model and the time taken."""
    return "\n".join(
        [
            f"{verdict.video}: {_headline(verdict)}",
            *(_face_line(face, verdict.frames_decoded) for face in verdict.faces),
            f"  model   {_model(verdict)}",
            f"  time    decode {verdict.latency_ms.decode:.0f} ms, infer {verdict.latency_ms.infer:.0f} ms",
        ]
    )


def _headline(verdict: VideoVerdict) -> str:
    headline = f"{verdict.verdict.value} ({verdict.reason})"
    if verdict.fake_probability is not None:
        headline = f"{verdict.verdict.value}, probability of FAKE {verdict.fake_probability:.3f}"
    return f"{headline} ({UNTRAINED_WARNING})" if verdict.model.weights == "untrained" else headline


def _face_line(face: FaceVerdict, num_frames: int) -> str:
    shown = face.segments[0]
    x1, y1, x2, y2 = face.box
    return (
        f"  face {face.track}  {face.fake_probability:.3f}, "
        f"seen in {face.frames_observed} of {num_frames} frames, "
        f"{shown.start_seconds:.2f}–{shown.end_seconds:.2f} s, "
        f"first at x {x1:.0f}–{x2:.0f}, y {y1:.0f}–{y2:.0f}"
    )


def _model(verdict: VideoVerdict) -> str:
    model = verdict.model
    return f"{model.name} version {model.version}, {model.weights} weights"
