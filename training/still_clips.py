"""Short videos from photos, each with its forged twin: a labelled set of people whom training never saw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from deepfake_triton.manifest import ManifestRow, Split
from deepfake_triton.preprocessing.video_files import TimedPicture, write_video
from deepfake_triton.training.samples import PairSampler

SOURCE = "still clips"
FRAME_PX = 320
SMALLEST_FACE_PX, LARGEST_FACE_PX = 90, 170
_SECONDS_A_FRAME = 0.04


def write_still_clips(
    sampler: PairSampler,
    folder: Path,
    split: Split,
    *,
    clips: int,
    num_frames: int,
    seed: int,
    crf: int,
    on_clip: Callable[[], None] | None = None,
) -> list[ManifestRow]:
    """Write `clips` pairs of each of the sampler's portraits below `folder`; rows with paths relative to it.

    The camera moves alike before the real face and its twin, and both are encoded alike.
    """
    rows = []
    for number, portrait in enumerate(sampler.portraits):
        for take in range(clips):
            rng = np.random.default_rng([seed, number, take])
            face_px = float(rng.uniform(SMALLEST_FACE_PX, LARGEST_FACE_PX))
            views, fakes, recipe = sampler.scene(rng, portrait, num_frames, face_px, FRAME_PX)
            name = f"{split}-{number:05d}-{take}"
            for label, pictures in (("real", [view.pixels for view in views]), ("fake", fakes)):
                target = folder / label / f"{name}.mp4"
                target.parent.mkdir(parents=True, exist_ok=True)
                timed = (TimedPicture(p, _SECONDS_A_FRAME * i) for i, p in enumerate(pictures))
                write_video(target, timed, crf)
                rows.append(
                    ManifestRow(
                        path=f"{label}/{name}.mp4",
                        label="real" if label == "real" else "fake",
                        identity=portrait.identity,
                        source=SOURCE,
                        manipulation=recipe.kind if label == "fake" else "",
                        original=f"real/{name}.mp4" if label == "fake" else "",
                        split=split,
                    )
                )
            if on_clip:
                on_clip()
    return rows
