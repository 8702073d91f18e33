"""Scored clips with known probabilities, for tests of metrics."""

from __future__ import annotations

from dataclasses import replace

from deepfake_triton.training.evaluation.corruptions import AS_IS
from deepfake_triton.training.evaluation.results import ScoredClip


def scored(index: int, label: int, probability: float | None, **changes: object) -> ScoredClip:
    """Return a clip of a person of its own; a fake one was made from the real one of the same index."""
    clip = ScoredClip(
        path=f"{'fake' if label else 'real'}/{index}.mp4",
        label=label,
        identity=f"p{index}",
        source="s",
        manipulation="swap" if label else "",
        original=f"real/{index}.mp4" if label else "",
        corruption=AS_IS,
        fake_probability=probability,
        sharpness=10.0 - label,
        jpeg_bytes=1000.0,
    )
    return replace(clip, **changes)  # type: ignore[arg-type]
