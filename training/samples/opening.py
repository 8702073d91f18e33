"""Open the samples of a split: a crop store, a file of portraits, or the photos of a manifest."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from deepfake_triton.contracts import DEFAULT_DETECTOR_SIZE
from deepfake_triton.dataset_manifest import ManifestRow, read_manifest
from deepfake_triton.errors import DatasetError
from deepfake_triton.files.hashing import sha256_of_file
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.training.augmentation.pair_options import PairOptions
from deepfake_triton.training.faces.portrait_file import (
    PortraitFile,
    StoredPortraits,
    is_portrait_file,
    read_portrait_file,
)
from deepfake_triton.training.faces.portraits import Portrait, extract_portraits
from deepfake_triton.training.samples.sources import CropStoreData, ForgedData, TrainingData

CALIBRATION_DEGRADATION = 0.5
"""Degradation of the held-out clips that the calibration is fitted to."""
_logger = logging.getLogger(__name__)


class OnPhoto(Protocol):
    """Callback for each photo whose face is looked for."""

    def __call__(self, split: str, *, done: int, total: int) -> None:
        """Report that `done` of `total` photos of a split are begun."""
        ...


@dataclass(frozen=True)
class DataFile:
    """A manifest, or a file of portraits that was made from one.

    `manifest_sha256` is the manifest's, `portraits_sha256` the file's, None for a manifest.
    """

    path: Path
    manifest_sha256: str
    rows: tuple[ManifestRow, ...] = ()
    portraits: PortraitFile | None = None
    portraits_sha256: str | None = None


def read_data_file(path: Path) -> DataFile:
    """Read a manifest or the index of a file of portraits. Raises DatasetError when it is neither."""
    if is_portrait_file(path):
        portraits = read_portrait_file(path)
        return DataFile(
            path, portraits.manifest_sha256, portraits=portraits, portraits_sha256=sha256_of_file(path)
        )
    return DataFile(path, rows=tuple(read_manifest(path)), manifest_sha256=sha256_of_file(path))


@dataclass(frozen=True)
class SampleSettings:
    """What the samples of a run are: crops of a `store`, or forged from real faces as `pairs` says."""

    store: Path | None
    rule: CropRule
    num_frames: int
    seed: int
    pairs: PairOptions = field(default_factory=PairOptions)


def open_split(
    data: DataFile,
    split: Literal["train", "val"],
    settings: SampleSettings,
    *,
    on_photo: OnPhoto,
    is_stopped: Callable[[], bool],
) -> TrainingData:
    """Open the crop store of a split, or the portraits of its real faces, found now or in the file.

    Raises DatasetError when there are none, and for a file of portraits beside a crop store.
    """
    seed = settings.seed if split == "train" else settings.seed + 1
    if settings.store:
        if data.portraits:
            raise DatasetError(f"{data.path}: holds portraits; with --crops, name the manifest")
        rows = [row for row in data.rows if row.split == split]
        return CropStoreData(rows, store=settings.store, rule=settings.rule, seed=seed)
    return ForgedData(
        _open_portraits(data, split, settings.pairs, on_photo=on_photo, is_stopped=is_stopped),
        settings.rule,
        num_frames=settings.num_frames,
        seed=seed,
        degradation_amount=1.0 if split == "train" else CALIBRATION_DEGRADATION,
        options=settings.pairs,
    )


def _open_portraits(
    data: DataFile,
    split: Literal["train", "val"],
    pairs: PairOptions,
    *,
    on_photo: OnPhoto,
    is_stopped: Callable[[], bool],
) -> Sequence[Portrait]:
    needed = [name for name in ("head-pose", "expressions") if pairs.has(name)]
    if data.portraits:
        stored = data.portraits.split(split)
        if not stored:
            raise DatasetError(f"{data.path}: no portrait of the split {split}; see `dataset portraits`")
        if needed:
            _require_meshes(data.path, stored, split=split, needed=needed)
        return stored
    from deepfake_triton.models.detectors.build import load_default_detector
    from deepfake_triton.models.face_mesh.finder import load_face_mesh

    real = [row for row in data.rows if row.split == split and row.label == "real"]
    done = 0

    def on_row(_: ManifestRow) -> None:
        nonlocal done
        done += 1
        on_photo(split, done=done, total=len(real))

    detector = load_default_detector(DEFAULT_DETECTOR_SIZE)
    portraits, faults = extract_portraits(
        real,
        data.path.parent,
        detector,
        on_row=on_row,
        is_stopped=is_stopped,
        mesh_network=load_face_mesh() if needed else None,
    )
    if not portraits:
        first = next(iter(faults.values()), "the manifest has no real rows there")
        raise DatasetError(f"{data.path}: no usable real face in the split {split}: {first}")
    return portraits


def _require_meshes(file: Path, portraits: StoredPortraits, *, split: str, needed: Sequence[str]) -> None:
    """Check that heads can be moved: raise DatasetError when none can, and warn of those that cannot."""
    without = portraits.count_without_mesh()
    if without == len(portraits):
        raise DatasetError(
            f"{file}: {', '.join(needed)}: no portrait of the split {split} has a face mesh; write the file "
            "again with `dataset portraits`"
        )
    if without:
        _logger.warning(
            "%s: %s: %d of %d portraits of the split %s have no face mesh, and stay as they are",
            *(file, ", ".join(needed), without, len(portraits), split),
        )
