"""Sources of training samples: real faces forged on the fly, or crops of labeled videos.

Every batch and clip depends only on the seed and its own index, so that a resumed run sees the same samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from deepfake_triton.arrays import Frames, Image
from deepfake_triton.dataset_manifest import ManifestRow
from deepfake_triton.errors import DatasetError
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.training.augmentation.degradations import degrade, sample_degradation
from deepfake_triton.training.augmentation.pair_options import PairOptions
from deepfake_triton.training.augmentation.pairs import PairSampler
from deepfake_triton.training.augmentation.stills import CropBatch, cut_batch, reuse_still
from deepfake_triton.training.faces.crops import crops_path, read_crops
from deepfake_triton.training.faces.portraits import Portrait

_BATCH_STREAM, _CLIP_STREAM, _REUSE_STREAM = 1, 2, 4  # of random numbers


@dataclass(frozen=True)
class LabeledClip:
    """Crops [T, S, S, 3] uint8 RGB of one face, its label (1 is fake) and the person's identity."""

    faces: Frames
    label: int
    identity: str


class TrainingData(Protocol):
    """Training samples of one split of a dataset."""

    def load_batch(self, index: int, pairs: int, strength: float) -> CropBatch:
        """Return a batch of `pairs` real and as many fake crops.

        `strength` is that of forgeries made on the fly.
        """
        ...

    def load_batches(
        self, first: int, pairs: int, *, strengths: Sequence[float], uses: int
    ) -> list[CropBatch]:
        """Return `uses` batches for each of `strengths`, the first of index `first`; pairs may come again."""
        ...

    def load_clips(self, index: int) -> list[LabeledClip]:
        """Return the clips of an index below `num_clips`: a real one, a fake one, or a real–fake pair."""
        ...

    def num_clips(self, rounds: int) -> int:
        """Return the index of indices in `rounds` passes over the split."""
        ...


class ForgedData:
    """Source that holds real faces only and forges their fake counterparts on the fly.

    `degradation_amount` (0…1) applies to clips; it is lower for calibration, since most videos are not that
    bad.
    """

    def __init__(
        self,
        portraits: Sequence[Portrait],
        rule: CropRule,
        *,
        num_frames: int,
        seed: int,
        degradation_amount: float = 1.0,
        options: PairOptions | None = None,
    ) -> None:
        if not portraits:
            raise DatasetError("no real face to train on; see what `dataset index` left out")
        self.sampler = PairSampler(portraits, rule, options=options)
        self.num_frames = num_frames
        self.seed = seed
        self.degradation_amount = degradation_amount

    def load_batch(self, index: int, pairs: int, strength: float) -> CropBatch:
        """Return real crops and their fake counterparts."""
        return self.load_batches(index, pairs, strengths=[strength], uses=1)[0]

    def load_batches(
        self, first: int, pairs: int, *, strengths: Sequence[float], uses: int
    ) -> list[CropBatch]:
        """Return a batch for each of `strengths`, then the same pairs again, mixed and in other crops.

        Every pair is in `uses` of the batches, once in each.
        """
        batches, drawn = [], []
        heavy = self.sampler.options.has("heavy-compression")
        for number, strength in enumerate(strengths):
            rng = np.random.default_rng([self.seed, _BATCH_STREAM, first + number])
            stills = self.sampler.draw_stills(rng, pairs, strength)
            batches.append(cut_batch(rng, stills, self.sampler.rule))
            drawn += stills
        for use in range(1, uses):
            rng = np.random.default_rng([self.seed, _REUSE_STREAM, first, use])
            drawn = [reuse_still(rng, drawn[i], heavy=heavy) for i in rng.permutation(len(drawn))]
            batches += [
                cut_batch(rng, drawn[start : start + pairs], self.sampler.rule)
                for start in range(0, len(drawn), pairs)
            ]
        return batches

    def load_clips(self, index: int) -> list[LabeledClip]:
        """Return a real clip of one portrait and its fake counterpart."""
        portrait = self.sampler.portraits[index % len(self.sampler.portraits)]
        rng = np.random.default_rng([self.seed, _CLIP_STREAM, index])
        pair = self.sampler.draw_clip(
            rng, portrait, self.num_frames, degradation_amount=self.degradation_amount
        )
        return [
            LabeledClip(pair.real, 0, portrait.identity),
            LabeledClip(pair.fake, 1, portrait.identity),
        ]

    def num_clips(self, rounds: int) -> int:
        """Return one index per portrait and round."""
        return rounds * len(self.sampler.portraits)


class CropStoreData:
    """Source of labeled videos from a crop store; every face of a fake video counts as fake."""

    def __init__(self, rows: Sequence[ManifestRow], *, store: Path, rule: CropRule, seed: int) -> None:
        stored = [row for row in rows if crops_path(store, row).is_file()]
        self.by_label = {label: [row for row in stored if row.label == label] for label in ("real", "fake")}
        empty = [label for label, found in self.by_label.items() if not found]
        if empty:
            raise DatasetError(f"{store}: no crops of {' or '.join(empty)} videos; run `dataset crops` first")
        self.rows, self.store, self.rule, self.seed = stored, store, rule, seed

    def load_batch(self, index: int, pairs: int, strength: float) -> CropBatch:
        """Return as many real as fake crops, whatever the class balance of the manifest.

        `strength` is ignored.
        """
        del strength  # videos are forged as they are
        rng = np.random.default_rng([self.seed, _BATCH_STREAM, index])
        crops, labels = [], []
        for label, name in enumerate(("real", "fake")):
            for _ in range(pairs):
                rows = self.by_label[name]
                faces = self._faces(rows[int(rng.integers(len(rows)))])
                track = faces[int(rng.integers(len(faces)))]
                crops.append(self._augment(rng, track[int(rng.integers(len(track)))]))
                labels.append(label)
        return CropBatch(np.stack(crops), np.array(labels))

    def load_batches(
        self, first: int, pairs: int, *, strengths: Sequence[float], uses: int
    ) -> list[CropBatch]:
        """Return batches of new crops: drawing one costs hardly more than using it again."""
        return [
            self.load_batch(first + number, pairs, strength)
            for number, strength in enumerate([*strengths] * uses)
        ]

    def load_clips(self, index: int) -> list[LabeledClip]:
        """Return the clip of the first face of one video, mirrored at random after the first round."""
        row = self.rows[index % len(self.rows)]
        rng = np.random.default_rng([self.seed, _CLIP_STREAM, index])
        faces = self._faces(row)[0]
        if index >= len(self.rows) and rng.uniform() < 0.5:
            faces = faces[:, :, ::-1]
        return [LabeledClip(np.ascontiguousarray(faces), int(row.label == "fake"), row.identity)]

    def num_clips(self, rounds: int) -> int:
        """Return one index per video and round."""
        return rounds * len(self.rows)

    def _faces(self, row: ManifestRow) -> Frames:
        return read_crops(crops_path(self.store, row)).faces

    def _augment(self, rng: np.random.Generator, crop: Image) -> Image:
        if rng.uniform() < 0.5:
            crop = crop[:, ::-1]
        out = degrade(np.ascontiguousarray(crop), sample_degradation(rng, 0.5), int(rng.integers(2**31)))
        if out.shape[0] == self.rule.side:
            return out
        return np.asarray(cv2.resize(out, (self.rule.side, self.rule.side)), np.uint8)
