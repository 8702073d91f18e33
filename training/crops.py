"""A crop store: the faces of every file of a manifest, cut by the preprocessing that is served."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deepfake_triton.contracts import DETECTIONS, FRAMES
from deepfake_triton.errors import DatasetError, InputError
from deepfake_triton.export.runners import Runner
from deepfake_triton.manifest import ManifestRow
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.preprocessing.faces import faces_from_detections
from deepfake_triton.preprocessing.sampling import FrameSelection
from deepfake_triton.preprocessing.video import decode_clip
from deepfake_triton.training.settings_file import SETTINGS_NAME, require_same_settings

FAULTS_NAME = "faults.json"


@dataclass(frozen=True)
class StoreSettings:
    """All that decides what a crop looks like; one store holds crops of one kind."""

    crop_rule: CropRule
    selection: FrameSelection
    detector_sha256: str

    def as_dict(self) -> dict[str, Any]:
        """For `settings.json`."""
        chosen = {"num_frames": self.selection.num_frames, "sampling": self.selection.sampling.value}
        return {"crop_rule": asdict(self.crop_rule), **chosen, "detector_sha256": self.detector_sha256}


@dataclass(frozen=True)
class ClipCrops:
    """The faces of one file: `faces` [F, T, S, S, 3] uint8 RGB, `boxes` [F, T, 4] px, `observed` [F, T],
    `pts_seconds` [T]."""

    faces: npt.NDArray[np.uint8]
    boxes: npt.NDArray[np.float32]
    observed: npt.NDArray[np.bool_]
    pts_seconds: npt.NDArray[np.float64]


@dataclass(frozen=True)
class StoreReport:
    """How many files were cut now, were there already, and what could not be cut, with the reason."""

    cut: int
    there_already: int
    faults: dict[str, str]


def fill_store(
    store: Path,
    rows: Sequence[ManifestRow],
    base: Path,
    settings: StoreSettings,
    detector: Runner,
    on_row: Callable[[ManifestRow], None] | None = None,
) -> StoreReport:
    """Cut the faces of every row whose file is not in the store yet; paths are relative to `base`.

    Each file is written whole or not at all, so that a run that was stopped goes on where it was. Files
    without a face or that cannot be decoded are listed in `faults.json`, and tried again by the next run.
    Raises DatasetError when the store holds crops of another kind.
    """
    require_same_settings(store, settings.as_dict(), "crops of another kind")
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
        _write_whole(target, crops)
        cut += 1
    (store / FAULTS_NAME).write_text(json.dumps(faults, indent=2) + "\n")
    return StoreReport(cut, there, faults)


def crops_path(store: Path, row: ManifestRow) -> Path:
    """Where the crops of a manifest's row stand, in one of 256 folders."""
    name = hashlib.sha256(row.path.encode()).hexdigest()
    return store / name[:2] / f"{name[2:34]}.npz"


def read_crops(path: Path) -> ClipCrops:
    """Read the crops of one file. Raises DatasetError when they are missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return ClipCrops(**{name: arrays[name] for name in ("faces", "boxes", "observed", "pts_seconds")})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{path}: cannot be read as crops: {error}; cut them again") from error


def crop_rule_of_store(store: Path) -> CropRule:
    """How the crops of a store were cut. Raises DatasetError when the folder is no store."""
    try:
        return CropRule(**json.loads((store / SETTINGS_NAME).read_text())["crop_rule"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{store}: no crop store ({error}); run `dataset crops` first") from error


def _cut(video: Path, settings: StoreSettings, detector: Runner) -> ClipCrops | None:
    frames = decode_clip(video, settings.selection).frames
    detections = detector.infer({FRAMES.name: frames.data})[DETECTIONS.name]
    tracked = faces_from_detections(frames.data, detections, settings.crop_rule)
    if not tracked.found:
        return None
    return ClipCrops(tracked.faces, tracked.boxes, tracked.observed, frames.pts_seconds)


def _write_whole(target: Path, crops: ClipCrops) -> None:
    target.parent.mkdir(exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.npz")
    try:
        np.savez(partial, **vars(crops))
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
