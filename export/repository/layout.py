"""A model repository on disk: a new version is complete before a server can see it."""

from __future__ import annotations

import errno
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tritonclient.grpc import model_config_pb2 as pb

from deepfake_triton import contracts
from deepfake_triton.errors import InvalidRepository, RepositoryConflict
from deepfake_triton.export.repository.configs import config_from_text, config_text
from deepfake_triton.export.repository.version_switch import (
    NoServer,
    possible_configs,
    switch,
    transition_configs,
)
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.repository.export_report import REPORT_NAME, ExportReport, report_text
from deepfake_triton.repository.files import CONFIG_NAME, is_ignored_name, list_configured_models, lock_folder
from deepfake_triton.repository.record import create_record, read_intact_record, recorded_change
from deepfake_triton.repository.record_file import RECORD_NAME, Record, write_record

CONFIGS_NAME = "configs"
CROP_RULE_NAME = "crop_rule.json"
DETECTION_RULE_NAME = "detection_rule.json"
SERVED_NAMES = tuple(spec.name for spec in contracts.served_models(samples_frames=True))
"""The models that a repository may have, the ensemble that clients call last."""
ENSEMBLE_NAME = contracts.deepfake_detector().name
_TEMPLATE = Path(__file__).resolve().parents[2] / "model_repository"


@dataclass(frozen=True)
class NewVersion:
    """The files of one export: graphs by model and file name, the crop rule, every how many frames faces are
    detected, and every model's config, the ensemble's last.
    """

    version: int
    graph_files: Mapping[str, Mapping[str, Path]]
    crop_rule: CropRule
    configs: Mapping[str, pb.ModelConfig]
    report: ExportReport
    detection_interval: int = 1


def next_version_number(output: Path) -> int:
    """Return one more than the highest version of any model in the repository `output`; 1 in a new one."""
    return 1 + max(list_version_numbers(output), default=0)


def list_version_numbers(repository: Path) -> list[int]:
    """Return the versions of which any model has a folder, complete or not, in ascending order."""
    found = {
        int(path.name)
        for name in SERVED_NAMES
        for path in (repository / name).glob("*")
        if path.is_dir() and path.name.isdecimal()
    }
    return sorted(found)


def require_writable(output: Path) -> None:
    """Raise RepositoryConflict unless files can be made where the repository `output` is, or will be."""
    place = output
    try:
        while not place.exists() and not place.is_symlink():
            place = place.parent
        if not place.is_dir():
            raise RepositoryConflict(f"{place}: is a file; name a folder")
        folders = [place / name for name in SERVED_NAMES if place == output and (place / name).is_dir()]
        for place in (place, *folders):  # noqa: B020 - the message names the one that fails
            with staging_folder(place) as stage:
                (stage / "probe").write_bytes(b"probe")
    except OSError as error:
        raise RepositoryConflict(
            f"{place}: cannot be written: {error.strerror}; name a folder with --output in which this user "
            "may make files, and mount it writable"
        ) from error


def require_room(output: Path, crop_side: int, backend: str = "onnxruntime") -> None:
    """Raise RepositoryConflict when `output` cannot take a version with crops of `crop_side` px for that
    backend, or holds what its record does not allow."""
    require_writable(output)
    if not output.is_dir():
        return
    with _as_conflicts():
        if not list_configured_models(output) and _has_foreign_files(output):
            raise RepositoryConflict(f"{output}: holds other files; name a new folder or a repository")
        read_intact_record(output)
    extractor = output / contracts.feature_extractor().name / CONFIG_NAME
    if extractor.is_file():
        config = config_from_text(extractor.read_text())
        if config.backend != backend:
            raise RepositoryConflict(
                f"{output}: its models are for the backend {config.backend}, the new version for {backend}; "
                "all versions of a model share one backend, so export into a folder of its own"
            )
        served = config.input[0].dims[1]
        if served != crop_side:
            raise RepositoryConflict(
                f"{output}: serves crops of {served} px, the new version wants {crop_side} px; all versions "
                "of a model share one shape, so export into a folder of its own"
            )


def publish(new: NewVersion, output: Path) -> None:
    """Add the version to the repository `output`, or create that repository, with its record.

    Version folders and configs are renamed into place, the ensemble's last: a server that starts at any
    moment finds a whole old version or a whole new one. Raises RepositoryConflict when another export took
    the same version meanwhile, or files changed; OSError when the disk refuses. A repository of an older
    export stays without a record, since nothing vouches for what it holds.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    if not output.exists():
        with staging_folder(output.parent) as stage:
            _write(new, stage)
            write_record(stage, create_record(stage))
            _rename(stage, output)
        return
    with lock_folder(output), _as_conflicts():
        if next_version_number(output) != new.version:
            raise RepositoryConflict(f"{output}: another export wrote version {new.version}; export again")
        record = read_intact_record(output)
        if list_configured_models(output):
            # Inside the ensemble's folder, Triton looks at numbers only, and renames stay on one file system.
            (output / ENSEMBLE_NAME).mkdir(exist_ok=True)
            with staging_folder(output / ENSEMBLE_NAME) as stage:
                _write(new, stage)
                _add_version(new, output, stage=stage, record=record)
        else:  # an empty folder, perhaps a mount point, which cannot be replaced
            with staging_folder(output) as stage:
                _write(new, stage)
                written = {path: {digest} for path, digest in create_record(stage).files.items()}
                with recorded_change(output, record or Record(), written):
                    for name in (*new.configs, REPORT_NAME):
                        _rename(stage / name, output / name)


@contextmanager
def staging_folder(place: Path) -> Iterator[Path]:
    """Create a folder inside `place`, for files to be renamed from; it is removed afterwards."""
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
        if name in new.graph_files:
            for file_name, path in new.graph_files[name].items():
                shutil.copyfile(path, folder / file_name)
        elif config.backend == "python":
            shutil.copyfile(_TEMPLATE / name / "1" / "model.py", folder / "model.py")
        if name == contracts.face_tracker().name:
            (folder / CROP_RULE_NAME).write_text(crop_rule_text(new.crop_rule))
            if new.detection_interval > 1:
                rule = json.dumps({"interval": new.detection_interval}) + "\n"
                (folder / DETECTION_RULE_NAME).write_text(rule)
        if name == contracts.deepfake_detector().name:  # it has no file of its own
            _keep_configs_and_report(new, folder)
        (root / name / CONFIG_NAME).write_text(config_text(config))
    (root / REPORT_NAME).write_text(report_text(new.report))


def _keep_configs_and_report(new: NewVersion, folder: Path) -> None:
    (folder / REPORT_NAME).write_text(report_text(new.report))
    (folder / CONFIGS_NAME).mkdir()
    for name, config in new.configs.items():
        (folder / CONFIGS_NAME / f"{name}.pbtxt").write_text(config_text(config))


def crop_rule_text(rule: CropRule) -> str:
    """Return the crop rule as `face_tracker` reads it beside its `model.py`; each version keeps its own."""
    return json.dumps(asdict(rule)) + "\n"


def _rename(source: Path, target: Path) -> None:
    """Rename, but never over what another export has put there."""
    try:
        source.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        raise RepositoryConflict(f"{target}: another export was faster; export again") from error


def _add_version(new: NewVersion, output: Path, *, stage: Path, record: Record | None) -> None:
    transition = transition_configs(output, new.configs, NoServer())
    written: dict[str, set[str | None]] = {
        path: {digest} for path, digest in create_record(stage).files.items()
    }
    with recorded_change(output, record, {**written, **possible_configs(new.configs, transition)}):
        for name in new.configs:
            (output / name).mkdir(exist_ok=True)
            _rename(stage / name / str(new.version), output / name / str(new.version))
        switch(output, new.configs, transition=transition, stage=stage)
        (stage / REPORT_NAME).replace(output / REPORT_NAME)


def _has_foreign_files(output: Path) -> bool:
    """Return whether a folder without models holds files that neither a file system nor an interrupted export
    left."""
    ours = (RECORD_NAME, REPORT_NAME, *SERVED_NAMES)
    return any(not is_ignored_name(path.name) and path.name not in ours for path in output.iterdir())


@contextmanager
def _as_conflicts() -> Iterator[None]:
    try:
        yield
    except InvalidRepository as error:
        raise RepositoryConflict(str(error)) from error
