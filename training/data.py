"""What training learns from: forged twins of real faces made on the fly, or crops of labelled videos.

Every batch and clip depends on the seed and its own number alone, so that a run that was stopped sees the
same samples again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from deepfake_triton.errors import DatasetError
from deepfake_triton.manifest import ManifestRow
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.training.crops import crops_path, read_crops
from deepfake_triton.training.degradations import degraded, sampled_degradation
from deepfake_triton.training.portraits import Portrait
from deepfake_triton.training.samples import CropBatch, PairSampler

Picture = npt.NDArray[np.uint8]

_BATCHES, _CLIPS = 1, 2


@dataclass(frozen=True)
class LabelledClip:
    """Crops [T, S, S, 3] uint8 RGB of one face, its label (1 fake) and whose it is."""

    faces: Picture
    label: int
    identity: str


class TrainingData(Protocol):
    """One split of a collection, as training sees it."""

    def batch(self, number: int, pairs: int, strength: float) -> CropBatch:
        """`pairs` real crops and as many fakes; `strength` of forgeries made on the fly."""
        ...

    def clips(self, number: int) -> list[LabelledClip]:
        """The clips of one number below `num_clips`: a real one, a fake one, or both of a pair."""
        ...

    def num_clips(self, rounds: int) -> int:
        """How many numbers `rounds` passes over the split take."""
        ...


class ForgedData:
    """Real faces alone; the fakes are their forged twins.

    `degradation_amount` (0…1) is for clips: less where they calibrate, since most videos are not that bad.
    """

    def __init__(
        self,
        portraits: Sequence[Portrait],
        rule: CropRule,
        num_frames: int,
        seed: int,
        degradation_amount: float = 1.0,
    ) -> None:
        if not portraits:
            raise DatasetError("no real face to learn from; see what `dataset index` left out")
        self.sampler = PairSampler(portraits, rule)
        self.num_frames = num_frames
        self.seed = seed
        self.degradation_amount = degradation_amount

    def batch(self, number: int, pairs: int, strength: float) -> CropBatch:
        """See TrainingData."""
        return self.sampler.crops(np.random.default_rng([self.seed, _BATCHES, number]), pairs, strength)

    def clips(self, number: int) -> list[LabelledClip]:
        """See TrainingData."""
        portrait = self.sampler.portraits[number % len(self.sampler.portraits)]
        rng = np.random.default_rng([self.seed, _CLIPS, number])
        pair = self.sampler.clip(rng, portrait, self.num_frames, degradation_amount=self.degradation_amount)
        return [
            LabelledClip(pair.real, 0, portrait.identity),
            LabelledClip(pair.fake, 1, portrait.identity),
        ]

    def num_clips(self, rounds: int) -> int:
        """See TrainingData."""
        return rounds * len(self.sampler.portraits)


class CropStoreData:
    """Labelled videos whose faces `dataset crops` has cut; every face of a fake video counts as fake."""

    def __init__(self, rows: Sequence[ManifestRow], store: Path, rule: CropRule, seed: int) -> None:
        there = [row for row in rows if crops_path(store, row).is_file()]
        self.by_label = {label: [row for row in there if row.label == label] for label in ("real", "fake")}
        empty = [label for label, found in self.by_label.items() if not found]
        if empty:
            raise DatasetError(f"{store}: no crops of {' or '.join(empty)} videos; run `dataset crops` first")
        self.rows, self.store, self.rule, self.seed = there, store, rule, seed

    def batch(self, number: int, pairs: int, strength: float) -> CropBatch:
        """See TrainingData; half of the crops are fake, whatever the manifest's shares."""
        del strength  # videos are forged as they are
        rng = np.random.default_rng([self.seed, _BATCHES, number])
        crops, labels = [], []
        for label, name in enumerate(("real", "fake")):
            for _ in range(pairs):
                rows = self.by_label[name]
                faces = self._faces(rows[int(rng.integers(len(rows)))])
                track = faces[int(rng.integers(len(faces)))]
                crops.append(self._varied(rng, track[int(rng.integers(len(track)))]))
                labels.append(label)
        return CropBatch(np.stack(crops), np.array(labels))

    def clips(self, number: int) -> list[LabelledClip]:
        """See TrainingData."""
        row = self.rows[number % len(self.rows)]
        rng = np.random.default_rng([self.seed, _CLIPS, number])
        faces = self._faces(row)[0]
        if number >= len(self.rows) and rng.uniform() < 0.5:
            faces = faces[:, :, ::-1]
        return [LabelledClip(np.ascontiguousarray(faces), int(row.label == "fake"), row.identity)]

    def num_clips(self, rounds: int) -> int:
        """See TrainingData."""
        return rounds * len(self.rows)

    def _faces(self, row: ManifestRow) -> Picture:
        return read_crops(crops_path(self.store, row)).faces

    def _varied(self, rng: np.random.Generator, crop: Picture) -> Picture:
        import cv2

        if rng.uniform() < 0.5:
            crop = crop[:, ::-1]
        out = degraded(np.ascontiguousarray(crop), sampled_degradation(rng, 0.5), int(rng.integers(2**31)))
        if out.shape[0] == self.rule.side:
            return out
        return np.asarray(cv2.resize(out, (self.rule.side, self.rule.side)), np.uint8)
