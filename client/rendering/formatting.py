"""Text of verdicts for terminals and plots."""

from __future__ import annotations

from collections import Counter

from deepfake_triton.client.verdicts.content_credentials import ContentCredentials, CredentialState
from deepfake_triton.client.verdicts.verdict import FaceVerdict, VideoVerdict
from deepfake_triton.console.terminal import printable
from deepfake_triton.operating_point import OperatingPoint

UNTRAINED_WARNING = "untrained weights: this verdict means nothing"


def verdict_text(verdict: VideoVerdict) -> str:
    """Format a verdict as several lines: thresholds, faces, what was not judged, Content Credentials, model,
    time."""
    unjudged = not_judged_text(verdict)
    signed = credentials_text(verdict.content_credentials)
    return "\n".join(
        [
            f"{printable(verdict.video)}: {_headline(verdict)}",
            *(_face_line(face, verdict.frames_decoded) for face in verdict.faces),
            *([f"  not judged: {unjudged}"] if unjudged else []),
            *([f"  signed  {signed}"] if signed else []),
            f"  model   {_model(verdict)}",
            f"  time    decode {verdict.latency_ms.decode:.0f} ms, infer {verdict.latency_ms.infer:.0f} ms",
        ]
    )


def verdict_headline(
    verdict: str, reason: str | None, *, probability: float | None, thresholds: OperatingPoint | None
) -> str:
    """Format a verdict in one line, the same in text and plots: reason, probability, and thresholds."""
    cut = ", truncated" if reason == "truncated" else ""
    headline = f"{verdict} ({reason})" if reason and not cut else verdict
    if probability is None:
        return headline
    return f"{headline}, probability of FAKE {probability:.3f}{f' ({thresholds})' if thresholds else ''}{cut}"


def not_judged_text(verdict: VideoVerdict) -> str:
    """List what a verdict leaves out: rejected faces, faces without a track, and a part that does not decode;
    empty when all was judged."""
    rejected = Counter(face.reason for face in verdict.faces if not face.shows_enough)
    parts = [f"{_faces(count)} ({reason})" for reason, count in rejected.items()]
    if verdict.faces_left_out:
        parts.append(f"{_faces(verdict.faces_left_out)} too many or seen too briefly to be followed")
    if verdict.fault:
        parts.append("the rest of a file that is cut or damaged")
    return ", ".join(parts)


def credentials_text(credentials: ContentCredentials | None) -> str:
    """Describe Content Credentials in one line; empty where a file has none."""
    if credentials is None or credentials.state is CredentialState.NONE:
        return ""
    signer = printable(credentials.signer or "an unnamed signer")
    text = {
        CredentialState.TRUSTED: f"by {signer}, unchanged since",
        CredentialState.VALID_UNKNOWN_SIGNER: f"by {signer}, who is not known here; unchanged since",
        CredentialState.INVALID: f"not valid ({credentials.reason})",
    }[credentials.state]
    if credentials.is_changed_after_signing:
        text = f"by {signer}, and altered afterwards ({credentials.reason})"
    return f"{text}; says that an AI made it or a part of it" if credentials.claims_ai else text


def _faces(count: int) -> str:
    return "1 face" if count == 1 else f"{count} faces"


def _headline(verdict: VideoVerdict) -> str:
    headline = verdict_headline(
        verdict.verdict.value,
        verdict.reason,
        probability=verdict.fake_probability,
        thresholds=verdict.model.thresholds,
    )
    return f"{headline} ({UNTRAINED_WARNING})" if verdict.model.weights == "untrained" else headline


def _face_line(face: FaceVerdict, num_frames: int) -> str:
    first, last = face.segments[0], face.segments[-1]
    x1, y1, x2, y2 = face.box
    probability = f"{face.fake_probability:.3f}" if face.shows_enough else "not judged"
    line = (
        f"  face {face.track}  {probability}{f' ({face.reason})' if face.reason else ''}, "
        f"seen in {face.frames_observed} of {num_frames} frames, "
        f"{first.start_seconds:.2f}–{last.end_seconds:.2f} s, "
        f"first at x {x1:.0f}–{x2:.0f}, y {y1:.0f}–{y2:.0f}"
    )
    if len(face.segments) > 1 and face.shows_enough:
        highest = max(face.segments, key=lambda segment: segment.fake_probability)
        line += (
            f"; {len(face.segments)} windows, highest {highest.fake_probability:.3f} "
            f"at {highest.start_seconds:.2f} s"
        )
    return line


def _model(verdict: VideoVerdict) -> str:
    model = verdict.model
    return printable(f"{model.name} version {model.version}, {model.weights} weights")
