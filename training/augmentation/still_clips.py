"""Short videos from photos, each with its fake counterpart: labeled clips of unseen people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from deepfake_triton.arrays import Image
from deepfake_triton.dataset_manifest import ManifestRow, Split
from deepfake_triton.preprocessing.video.timed_frames import TimedFrame
from deepfake_triton.preprocessing.video.writer import write_video
from deepfake_triton.training.augmentation.pairs import PairSampler

SOURCE = "still clips"
FRAME_PX = 320
SMALLEST_FACE_PX, LARGEST_FACE_PX = 90, 170
_SECONDS_PER_FRAME = 0.04


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
    """Write `clips` real–fake pairs of each portrait below `folder`, and return their rows.

    Paths in the rows are relative to `folder`. Camera motion and encoding are identical for both clips of a
    pair.
    """
    rows: list[ManifestRow] = []
    for number, portrait in enumerate(sampler.portraits):
        for take in range(clips):
            rng = np.random.default_rng([seed, number, take])
            face_px = float(rng.uniform(SMALLEST_FACE_PX, LARGEST_FACE_PX))
            scene = sampler.draw_scene(rng, portrait, num_frames=num_frames, face_px=face_px, side=FRAME_PX)
            name = f"{split}-{number:05d}-{take}.mp4"
            real = ManifestRow(
                path=f"real/{name}",
                label="real",
                identity=portrait.identity,
                source=SOURCE,
                manipulation="",
                original="",
                split=split,
            )
            fake = ManifestRow(
                path=f"fake/{name}",
                label="fake",
                identity=portrait.identity,
                source=SOURCE,
                manipulation=scene.recipe.kind,
                original=real.path,
                split=split,
            )
            _write(folder / real.path, [view.pixels for view in scene.views], crf)
            _write(folder / fake.path, scene.fakes, crf)
            rows += [real, fake]
            if on_clip:
                on_clip()
    return rows


def _write(path: Path, images: Sequence[Image], crf: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = (TimedFrame(image, _SECONDS_PER_FRAME * i) for i, image in enumerate(images))
    write_video(path, frames, crf=crf)
