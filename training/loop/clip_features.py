"""Backbone features of whole clips, cached in the run folder for a restart."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from deepfake_triton.arrays import Frames
from deepfake_triton.contracts import FEATURE_SIZE
from deepfake_triton.files.atomic import atomic_write
from deepfake_triton.models.resnext import ResNeXt50
from deepfake_triton.training.device.uploads import upload
from deepfake_triton.training.loop.frame_phase import images_from_crops, mixed_precision
from deepfake_triton.training.loop.run_dir import TrainingRun
from deepfake_triton.training.loop.schedule import CLIP_SHARES
from deepfake_triton.training.samples.loader import iterate_in_order
from deepfake_triton.training.samples.sources import LabeledClip, TrainingData

FEATURES_NAME = "features"
_CLIPS_PER_FILE, _TIMED_CLIPS_PER_FILE = 16, 4
_CROPS_PER_PASS = 128


@dataclass(frozen=True)
class ClipFeatures:
    """Backbone features [N, T, 2048] float32 of N clips.

    The first `lengths` [N] frames of each are valid; `labels` [N] are 1 for fake, and `people` [N] is the
    index of each clip's person.
    """

    features: npt.NDArray[np.float32]
    lengths: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    people: npt.NDArray[np.int64]


def extract_clip_features(
    run: TrainingRun, split: Literal["train", "val"], backbone: ResNeXt50, *, rounds: int
) -> ClipFeatures:
    """Compute the features of `rounds` passes over the clips of a split, or read those computed before.

    A run by the clock stops when the split's time is over and it has clips of both labels.
    """
    data = run.train if split == "train" else run.val
    folder = run.folder.path / FEATURES_NAME / f"{split}-{_fingerprint(backbone)}"
    folder.mkdir(parents=True, exist_ok=True)
    plan = _plan_files(data.num_clips(rounds), is_timed=run.budget is not None)
    done = {start: _labels(_file(folder, start)) for start in plan if _file(folder, start).is_file()}

    def is_enough() -> bool:
        seen = {label for labels in done.values() for label in labels}
        return run.is_late(CLIP_SHARES[split]) and len(seen) > 1

    missing = [] if is_enough() else [start for start in plan if start not in done]
    workers = run.workers if missing and not run.stop.requested else 0
    clips_of_files = iterate_in_order(_Clips(data, plan), missing, workers)
    for start, clips in zip(missing, clips_of_files, strict=True):
        _write(_file(folder, start), clips, backbone, run=run)
        done[start] = [clip.label for clip in clips]
        count = min(len(done) * len(plan[start]), data.num_clips(rounds))
        run.on_progress(f"{split} clips", done=count, total=data.num_clips(rounds), figures="")
        if is_enough():
            break
    return _read([_file(folder, start) for start in plan if start in done])


def _plan_files(total: int, *, is_timed: bool) -> dict[int, list[int]]:
    """Return the indices of the clips of each file, by the number of its first.

    What a run by the clock gets done must have everyone in it, so that it takes them in random order.
    """
    order = np.random.default_rng(total).permutation(total).tolist() if is_timed else list(range(total))
    size = _TIMED_CLIPS_PER_FILE if is_timed else _CLIPS_PER_FILE
    return {start: order[start : start + size] for start in range(0, total, size)}


class _Clips(torch.utils.data.Dataset[list[LabeledClip]]):
    """Clips of one file of features, by the index of the first."""

    def __init__(self, data: TrainingData, plan: Mapping[int, list[int]]) -> None:
        self.data, self.plan = data, plan

    def __getitem__(self, start: int) -> list[LabeledClip]:
        return [clip for index in self.plan[start] for clip in self.data.load_clips(index)]


def _labels(file: Path) -> list[int]:
    with np.load(file, allow_pickle=False) as arrays:
        return [int(label) for label in arrays["labels"]]


def _file(folder: Path, start: int) -> Path:
    return folder / f"{start:06d}.npz"


def _write(file: Path, clips: list[LabeledClip], backbone: ResNeXt50, *, run: TrainingRun) -> None:
    longest = max(len(clip.faces) for clip in clips)
    features = np.zeros((len(clips), longest, FEATURE_SIZE), np.float16)
    values = _features(np.concatenate([clip.faces for clip in clips]), backbone, run)
    ends = np.cumsum([len(clip.faces) for clip in clips])
    for row, (clip, end) in enumerate(zip(clips, ends, strict=True)):
        features[row, : len(clip.faces)] = values[end - len(clip.faces) : end]
    with atomic_write(file) as partial:
        np.savez(
            partial,
            features=features,
            lengths=np.array([len(clip.faces) for clip in clips]),
            labels=np.array([clip.label for clip in clips]),
            people=np.array([clip.identity for clip in clips]),
        )


def _features(crops: Frames, backbone: ResNeXt50, run: TrainingRun) -> npt.NDArray[np.float16]:
    """Return the features [N, 2048] of crops [N, S, S, 3] uint8 RGB, computed many at a time."""
    pixels = upload(crops, run.device)
    with torch.inference_mode():
        with mixed_precision(run.device):
            parts = [
                backbone(images_from_crops(part, run.metadata)).half()
                for part in torch.split(pixels, _CROPS_PER_PASS)
            ]
        return torch.cat(parts).cpu().numpy()  # on CPUs, autocast to bf16 joins no halves


def _read(files: list[Path]) -> ClipFeatures:
    """Concatenate files of features, padded to the longest clip."""
    parts = []
    for file in files:
        with np.load(file, allow_pickle=False) as arrays:
            parts.append({name: arrays[name] for name in arrays.files})
    longest = max(int(part["lengths"].max()) for part in parts)
    features = np.concatenate(
        [
            np.pad(part["features"], ((0, 0), (0, longest - part["features"].shape[1]), (0, 0)))
            for part in parts
        ]
    )
    names = np.concatenate([part["people"] for part in parts])
    return ClipFeatures(
        features=features.astype(np.float32),
        lengths=np.concatenate([part["lengths"] for part in parts]),
        labels=np.concatenate([part["labels"] for part in parts]),
        people=np.unique(names, return_inverse=True)[1].astype(np.int64),
    )


def _fingerprint(backbone: ResNeXt50) -> str:
    digest = hashlib.sha256()
    for value in backbone.state_dict().values():
        digest.update(value.detach().cpu().numpy().tobytes())
    return digest.hexdigest()[:12]
