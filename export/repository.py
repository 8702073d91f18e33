"""A model repository on disk: a new version is complete before a server can see it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tritonclient.grpc import model_config_pb2 as pb

from deepfake_triton import contracts
from deepfake_triton.errors import RepositoryConflict
from deepfake_triton.export.configs import config_from_text, config_text, loaded_versions
from deepfake_triton.preprocessing.crops import CropRule

REPORT_NAME = "export_report.json"
CROP_RULE_NAME = "crop_rule.json"
_TEMPLATE = Path(__file__).resolve().parent.parent / "model_repository"


@dataclass(frozen=True)
class NewVersion:
    """All files of one export: ONNX files by model name, the crop rule, and every model's config.

    `configs` holds the ensemble last.
    """

    version: int
    onnx_files: Mapping[str, Path]
    crop_rule: CropRule
    configs: Mapping[str, pb.ModelConfig]
    report: Mapping[str, Any]


def next_version(output: Path) -> int:
    """One more than the highest version of any model in the repository `output`; 1 in a new one."""
    folders = [path for path in output.glob("*/*") if path.is_dir() and path.name.isdecimal()]
    return 1 + max((int(path.name) for path in folders), default=0)


def require_room(output: Path, crop_side: int) -> None:
    """Raise RepositoryConflict when `output` is no place for a version with crops of `crop_side` px."""
    if output.exists() and not output.is_dir():
        raise RepositoryConflict(f"{output}: is a file; name a folder")
    if output.is_dir() and not any(output.glob("*/config.pbtxt")) and any(output.iterdir()):
        raise RepositoryConflict(f"{output}: holds other files; name a new folder or a repository")
    extractor = output / contracts.feature_extractor().name / "config.pbtxt"
    if extractor.is_file():
        served = config_from_text(extractor.read_text()).input[0].dims[1]
        if served != crop_side:
            raise RepositoryConflict(
                f"{output}: serves crops of {served} px, the new version wants {crop_side} px; all versions "
                "of a model share one shape, so export into a folder of its own"
            )


def publish(new: NewVersion, output: Path) -> None:
    """Put `new` into the repository `output`, or make that repository.

    Version folders and configs are renamed into place, the ensemble's last: a server that starts at any
    moment finds a whole old version or a whole new one. Raises RepositoryConflict when another export took
    the same version meanwhile.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    fresh = not output.exists() or not any(output.iterdir())
    # Inside the ensemble's folder, Triton looks at numbers only, and renames stay on one file system.
    place = output.parent if fresh else output / contracts.deepfake_detector().name
    with _staging(place) as stage:
        _write(new, stage)
        if fresh:
            _make_visible(stage, output)
        else:
            _add_version(new, stage, output)


@contextmanager
def _staging(place: Path) -> Iterator[Path]:
    stage = Path(tempfile.mkdtemp(prefix=".partial-", dir=place))
    stage.chmod(0o755)
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _write(new: NewVersion, root: Path) -> None:
    for name, config in new.configs.items():
        folder = root / name / str(new.version)
        folder.mkdir(parents=True)
        if name in new.onnx_files:
            shutil.copyfile(new.onnx_files[name], folder / "model.onnx")
        elif name == contracts.face_tracker().name:
            shutil.copyfile(_TEMPLATE / name / "1" / "model.py", folder / "model.py")
            (folder / CROP_RULE_NAME).write_text(crop_rule_text(new.crop_rule))
        else:  # an ensemble's version folder is empty, and empty folders get lost in copies
            (folder / ".keep").touch()
        (root / name / "config.pbtxt").write_text(config_text(config))
    (root / REPORT_NAME).write_text(json.dumps(new.report, indent=2) + "\n")


def crop_rule_text(rule: CropRule) -> str:
    """The crop rule as `face_tracker` reads it, beside its `model.py`: each version keeps its own."""
    return json.dumps(asdict(rule)) + "\n"


def _make_visible(stage: Path, output: Path) -> None:
    try:
        stage.rename(output)
    except OSError:  # a mount point cannot be replaced, but its content can be filled in
        for path in sorted(stage.iterdir()):
            shutil.move(path, output / path.name)


def _add_version(new: NewVersion, stage: Path, output: Path) -> None:
    *steps, ensemble = new.configs
    for name in new.configs:
        (output / name).mkdir(exist_ok=True)
        try:
            (stage / name / str(new.version)).rename(output / name / str(new.version))
        except OSError as error:
            raise RepositoryConflict(
                f"{output / name / str(new.version)}: another export wrote this version; export again"
            ) from error
    for name in steps:  # both versions, until the ensemble points to the new one
        _replace_config(stage, output / name, _with_old_versions(new.configs[name], output / name))
    _replace_config(stage, output / ensemble, new.configs[ensemble])
    for name in steps:
        _replace_config(stage, output / name, new.configs[name])
    (stage / REPORT_NAME).replace(output / REPORT_NAME)


def _with_old_versions(config: pb.ModelConfig, model: Path) -> pb.ModelConfig:
    both = pb.ModelConfig()
    both.CopyFrom(config)
    current = model / "config.pbtxt"
    if current.is_file():
        old = loaded_versions(config_from_text(current.read_text()))
        both.version_policy.specific.versions[:] = sorted({*old, *loaded_versions(config)})
    return both


def _replace_config(stage: Path, model: Path, config: pb.ModelConfig) -> None:
    text = stage / "config.pbtxt"
    text.write_text(config_text(config))
    text.replace(model / "config.pbtxt")
