"""Short videos from photos, each with its fake counterpart: labeled clips of unseen people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deepfake_triton.arrays import Image
from deepfake_triton.dataset_manifest import ManifestRow, Split, half_of_split
from deepfake_triton.preprocessing.video.timed_frames import TimedFrame
from deepfake_triton.preprocessing.video.writer import write_video
from deepfake_triton.training.augmentation.clip_conditions import PLAIN, pose_of, require_meshes
from deepfake_triton.training.augmentation.pairs import PairSampler, ScenePair
from deepfake_triton.training.faces.portraits import Portrait

SOURCE = "still clips"
FRAME_PX = 320
SMALLEST_FACE_PX, LARGEST_FACE_PX = 90, 170
_SECONDS_PER_FRAME = 0.04


@dataclass(frozen=True)
class ClipSettings:
    """What each clip shows: `clips` of a portrait, under each of the `conditions` where there are any."""

    clips: int
    num_frames: int
    seed: int
    crf: int
    conditions: tuple[str, ...] = ()


def write_still_clips(
    sampler: PairSampler,
    folder: Path,
    split_of: Mapping[str, Split],
    *,
    settings: ClipSettings,
    on_clip: Callable[[], None] | None = None,
) -> list[ManifestRow]:
    """Write real–fake pairs of each portrait below `folder`, and return their rows.

    `split_of` has the split of each portrait by its path. Paths in the rows are relative to `folder`. Camera
    motion and encoding are identical for both clips of a pair, and these and the forgery for the pairs under
    different conditions. Faces of other people come from the same split, or half of `transfer`. Raises
    DatasetError where a condition needs a mesh and a portrait has none.
    """
    require_meshes(sampler, settings.conditions)
    rows: list[ManifestRow] = []
    samplers = _samplers_by_half(sampler, split_of)
    for number, portrait in enumerate(sampler.portraits):
        split = split_of[portrait.path]
        within = samplers[half_of_split(split, portrait.identity)]
        for take in range(settings.clips):
            for condition in settings.conditions or ("",):
                rng = np.random.default_rng([settings.seed, number, take])
                scene = _draw_scene(within, rng, portrait, condition=condition, settings=settings)
                real, fake = _pair_rows(portrait.identity, split, scene.recipe.kind, condition=condition)
                suffix = f"-{condition}" if condition else ""
                name = f"{split}-{number:05d}-{take}{suffix}.mp4"
                real = replace(real, path=f"real/{name}")
                fake = replace(fake, path=f"fake/{name}", original=real.path)
                _write(folder / real.path, [view.pixels for view in scene.views], settings.crf)
                _write(folder / fake.path, scene.fakes, settings.crf)
                rows += [real, fake]
                if on_clip:
                    on_clip()
    return rows


def _samplers_by_half(sampler: PairSampler, split_of: Mapping[str, Split]) -> dict[str, PairSampler]:
    """Return a sampler for each split, and each half of `transfer`, so that swaps cross none."""
    groups: dict[str, list[Portrait]] = defaultdict(list)
    for portrait in sampler.portraits:
        groups[half_of_split(split_of[portrait.path], portrait.identity)].append(portrait)
    return {
        half: PairSampler(portraits, sampler.rule, options=sampler.options)
        for half, portraits in groups.items()
    }


def _draw_scene(
    sampler: PairSampler,
    rng: np.random.Generator,
    portrait: Portrait,
    *,
    condition: str,
    settings: ClipSettings,
) -> ScenePair:
    """Draw a scene of a portrait; conditions change nothing but the pose."""
    face_px = float(rng.uniform(SMALLEST_FACE_PX, LARGEST_FACE_PX))
    return sampler.draw_scene(
        rng,
        portrait,
        num_frames=settings.num_frames,
        face_px=face_px,
        side=FRAME_PX,
        fixed=pose_of(condition) if condition else None,
    )


def _pair_rows(
    identity: str, split: Split, manipulation: str, *, condition: str
) -> tuple[ManifestRow, ManifestRow]:
    """Return the rows of a real clip and its fake counterpart, yet without paths."""
    real = ManifestRow(
        path="",
        label="real",
        identity=identity,
        source=SOURCE,
        manipulation="",
        original="",
        split=split,
        condition="" if condition == PLAIN else condition,
    )
    return real, replace(real, label="fake", manipulation=manipulation)


def _write(path: Path, images: Sequence[Image], crf: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = (TimedFrame(image, _SECONDS_PER_FRAME * i) for i, image in enumerate(images))
    write_video(path, frames, crf=crf)
