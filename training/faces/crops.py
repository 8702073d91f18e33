"""Crop store: the face crops of every file of a manifest, from the same preprocessing as in serving."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from deepfake_triton.dataset_manifest import ManifestRow
from deepfake_triton.errors import DatasetError, InputError
from deepfake_triton.files.atomic import atomic_write
from deepfake_triton.json_object import JsonObject
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.training.settings_file import SETTINGS_NAME, require_same_settings

if TYPE_CHECKING:
    from deepfake_triton.models.runtimes.base import Runner
    from deepfake_triton.preprocessing.video.sampling import FrameSelection

FAULTS_NAME = "faults.json"


@dataclass(frozen=True)
class StoreSettings:
    """Everything that determines the crops; one store holds crops of one kind."""

    crop_rule: CropRule
    selection: FrameSelection
    detector_sha256: str

    def to_json(self) -> JsonObject:
        """Return the content of `settings.json`."""
        chosen = {"num_frames": self.selection.num_frames, "sampling": self.selection.sampling.value}
        return {"crop_rule": asdict(self.crop_rule), **chosen, "detector_sha256": self.detector_sha256}


@dataclass(frozen=True)
class ClipCrops:
    """Face tracks of one file: `faces` [F, T, S, S, 3] uint8 RGB.

    `boxes` [F, T, 4] are x1 y1 x2 y2 in px, `observed` [F, T] says whether a box was detected rather than
    interpolated, and `pts_seconds` [T] are the frames' times.
    """

    faces: npt.NDArray[np.uint8]
    boxes: npt.NDArray[np.float32]
    observed: npt.NDArray[np.bool_]
    pts_seconds: npt.NDArray[np.float64]


@dataclass(frozen=True)
class StoreReport:
    """Number of files cut now and found in the store, and the reason for each file without crops, by path."""

    cut: int
    there_already: int
    faults: dict[str, str]


def fill_store(
    store: Path,
    rows: Sequence[ManifestRow],
    *,
    base: Path,
    settings: StoreSettings,
    detector: Runner,
    on_row: Callable[[ManifestRow], None] | None = None,
) -> StoreReport:
    """Cut the faces of every row that is not in the store yet; paths of rows are relative to `base`.

    Each file is written atomically, so that an interrupted run resumes where it stopped. Files without a face
    or that cannot be decoded are listed in `faults.json`, and retried by the next run. Raises DatasetError
    when the store holds crops of another kind.
    """
    require_same_settings(store, settings.to_json(), "crops of another kind")
    cut = there = 0
    faults: dict[str, str] = {}
    for row in rows:
        if on_row:
            on_row(row)
        target = crops_path(store, row)
        if target.is_file():
            there += 1
            continue
        try:
            crops = _cut(base / row.path, settings, detector)
        except InputError as error:
            faults[row.path] = str(error)
            continue
        if crops is None:
            faults[row.path] = "no face in the chosen frames"
            continue
        _write(target, crops)
        cut += 1
    (store / FAULTS_NAME).write_text(json.dumps(faults, indent=2) + "\n")
    return StoreReport(cut, there, faults)


def crops_path(store: Path, row: ManifestRow) -> Path:
    """Return the path of a row's crops in the store, in one of 256 folders."""
    name = hashlib.sha256(row.path.encode()).hexdigest()
    return store / name[:2] / f"{name[2:34]}.npz"


def read_crops(path: Path) -> ClipCrops:
    """Read the crops of one file. Raises DatasetError when they are missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return ClipCrops(**{name: arrays[name] for name in ("faces", "boxes", "observed", "pts_seconds")})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{path}: cannot be read as crops: {error}; cut them again") from error


def read_crop_rule(store: Path) -> CropRule:
    """Read the crop rule of a store. Raises DatasetError when the folder is not a crop store."""
    try:
        return CropRule(**json.loads((store / SETTINGS_NAME).read_text())["crop_rule"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{store}: no crop store ({error}); run `dataset crops` first") from error


def _cut(video: Path, settings: StoreSettings, detector: Runner) -> ClipCrops | None:
    from deepfake_triton.models.local_pipeline import find_faces
    from deepfake_triton.preprocessing.video.clip import decode_clip

    frames = decode_clip(video, settings.selection).frames
    tracked = find_faces(frames.data, detector, settings.crop_rule)
    if not tracked.found:
        return None
    return ClipCrops(tracked.faces, tracked.boxes, tracked.observed, frames.pts_seconds)


def _write(target: Path, crops: ClipCrops) -> None:
    target.parent.mkdir(exist_ok=True)
    with atomic_write(target) as partial:
        np.savez(partial, **vars(crops))
