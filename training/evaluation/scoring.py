"""Score labeled videos with the served model and two trivial baselines (sharpness, JPEG size)."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from deepfake_triton.arrays import Image
from deepfake_triton.client import DeepfakeClient
from deepfake_triton.dataset_manifest import ManifestRow, split_with_half
from deepfake_triton.errors import InputError
from deepfake_triton.preprocessing.crops import CropRule, crop_face
from deepfake_triton.preprocessing.quality import sharpness_of
from deepfake_triton.preprocessing.video.clip import decode_clip
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch
from deepfake_triton.preprocessing.video.sampling import FrameSelection
from deepfake_triton.training.evaluation.corruptions import (
    AS_IS,
    REENCODED,
    Corruption,
    write_corrupted_clip,
)
from deepfake_triton.training.evaluation.mirroring import MIRRORED, mirror_mean
from deepfake_triton.training.evaluation.results import ScoredClip, Scores

_BASELINE_CROP = CropRule(112)
_JPEG_QUALITY = 90


def score_clips(
    client: DeepfakeClient,
    rows: Sequence[ManifestRow],
    *,
    base: Path,
    corruptions: Sequence[Corruption],
    selection: FrameSelection,
    normalize: bool = False,
    mirror: bool = False,
    on_clip: Callable[[], None] | None = None,
) -> Scores:
    """Score every row, as it is and under every corruption; paths are relative to `base`.

    `normalize` re-encodes all videos identically first; `mirror` also scores the mirror image of every clip
    as it is, and the mean of both. Raises ServerError when the server fails.
    """
    clips: list[ScoredClip] = []
    faults: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="deepfake-triton-") as folder:
        for row in rows:
            for corruption in (REENCODED if normalize else None, *corruptions):
                name = corruption.name if corruption else AS_IS
                try:
                    video = base / row.path
                    if corruption:
                        video = Path(folder) / "clip.mp4"
                        write_corrupted_clip(
                            base / row.path, video, corruption, num_frames=selection.num_frames
                        )
                    frames = decode_clip(video, selection).frames
                    clips.append(_score(client, row, frames, corruption=name))
                except InputError as error:
                    faults[f"{row.path} ({name})"] = str(error)
                else:
                    if mirror and name == AS_IS:
                        try:
                            clips += _score_mirrored(client, row, frames, plain=clips[-1])
                        except InputError as error:
                            faults[f"{row.path} ({MIRRORED})"] = str(error)
                if on_clip:
                    on_clip()
    return Scores(tuple(clips), faults)


def _score_mirrored(
    client: DeepfakeClient, row: ManifestRow, frames: FrameBatch, *, plain: ScoredClip
) -> list[ScoredClip]:
    """Score the mirror image of a clip, and the mean of both probabilities."""
    other = replace(frames, data=np.ascontiguousarray(frames.data[:, :, ::-1]))
    mirrored = _score(client, row, other, corruption=MIRRORED)
    return [mirrored, mirror_mean(plain, mirrored)]


def _score(client: DeepfakeClient, row: ManifestRow, frames: FrameBatch, *, corruption: str) -> ScoredClip:
    """Score one clip by the face with the highest probability of FAKE."""
    faces = client.faces(frames)
    worst = max(faces, key=lambda face: face.fake_probability, default=None)
    sharpness = jpeg_bytes = None
    if worst is not None:
        first = int(np.searchsorted(frames.pts_seconds, worst.segments[0].start_seconds))
        crop = crop_face(frames.data[first], np.array(worst.box), _BASELINE_CROP)
        sharpness, jpeg_bytes = sharpness_of(crop), jpeg_size_bytes(crop)
    return ScoredClip(
        path=row.path,
        label=int(row.label == "fake"),
        identity=row.identity,
        source=row.source,
        manipulation=row.manipulation,
        original=row.original,
        corruption=corruption,
        fake_probability=worst.fake_probability if worst else None,
        sharpness=sharpness,
        jpeg_bytes=jpeg_bytes,
        split=split_with_half(row),
        condition=row.condition,
    )


def jpeg_size_bytes(crop: Image) -> float:
    """Return the size in bytes of a crop [S, S, 3] uint8 RGB as JPEG of quality 90."""
    return float(cv2.imencode(".jpg", crop[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].size)
