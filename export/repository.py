"""A model repository on disk: a new version is complete before a server can see it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from tritonclient.grpc import model_config_pb2 as pb

from deepfake_triton import contracts
from deepfake_triton.errors import DeepfakeError, RepositoryConflict
from deepfake_triton.export.configs import config_from_text, config_text, loaded_versions
from deepfake_triton.integrity import REPORT_NAME
from deepfake_triton.preprocessing.crops import CropRule

CONFIG_NAME = "config.pbtxt"
CONFIGS_NAME = "configs"
ONNX_NAME = "model.onnx"
CROP_RULE_NAME = "crop_rule.json"
_TEMPLATE = Path(__file__).resolve().parent.parent / "model_repository"


@dataclass(frozen=True)
class NewVersion:
    """All files of one export: graphs by model and file name, the crop rule, and every model's config.

    `configs` holds the ensemble last.
    """

    version: int
    graph_files: Mapping[str, Mapping[str, Path]]
    crop_rule: CropRule
    configs: Mapping[str, pb.ModelConfig]
    report: Mapping[str, Any]


def next_version(output: Path) -> int:
    """One more than the highest version of any model in the repository `output`; 1 in a new one."""
    folders = [path for path in output.glob("*/*") if path.is_dir() and path.name.isdecimal()]
    return 1 + max((int(path.name) for path in folders), default=0)


def require_room(output: Path, crop_side: int, backend: str = "onnxruntime") -> None:
    """Raise RepositoryConflict when `output` is no place for a version with crops of `crop_side` px, whose
    graphs that backend runs."""
    if output.exists() and not output.is_dir():
        raise RepositoryConflict(f"{output}: is a file; name a folder")
    if output.is_dir() and not any(output.glob("*/config.pbtxt")) and any(output.iterdir()):
        raise RepositoryConflict(f"{output}: holds other files; name a new folder or a repository")
    extractor = output / contracts.feature_extractor().name / "config.pbtxt"
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
    """Put `new` into the repository `output`, or make that repository.

    Version folders and configs are renamed into place, the ensemble's last: a server that starts at any
    moment finds a whole old version or a whole new one. Raises RepositoryConflict when another export took
    the same version meanwhile; OSError when the disk refuses.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    if not output.exists():
        with staging(output.parent) as stage:
            _write(new, stage)
            _rename(stage, output)
        return
    with locked(output):
        if next_version(output) != new.version:
            raise RepositoryConflict(f"{output}: another export wrote version {new.version}; export again")
        if any(output.glob("*/config.pbtxt")):
            # Inside the ensemble's folder, Triton looks at numbers only, and renames stay on one file system.
            with staging(output / contracts.deepfake_detector().name) as stage:
                _write(new, stage)
                _add_version(new, stage, output)
        else:  # an empty folder, perhaps a mount point, which cannot be replaced
            with staging(output) as stage:
                _write(new, stage)
                for name in (*new.configs, REPORT_NAME):
                    _rename(stage / name, output / name)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One change at a time in one folder; the lock goes with the process."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def staging(place: Path) -> Iterator[Path]:
    """A folder inside `place`, for files to be renamed from; gone afterwards."""
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
        if name == contracts.deepfake_detector().name:  # it has no file of its own
            _keep_for_later(new, folder)
        (root / name / CONFIG_NAME).write_text(config_text(config))
    (root / REPORT_NAME).write_text(json.dumps(new.report, indent=2) + "\n")


def _keep_for_later(new: NewVersion, folder: Path) -> None:
    (folder / REPORT_NAME).write_text(json.dumps(new.report, indent=2) + "\n")
    (folder / CONFIGS_NAME).mkdir()
    for name, config in new.configs.items():
        (folder / CONFIGS_NAME / f"{name}.pbtxt").write_text(config_text(config))


def crop_rule_text(rule: CropRule) -> str:
    """The crop rule as `face_tracker` reads it, beside its `model.py`: each version keeps its own."""
    return json.dumps(asdict(rule)) + "\n"


def _rename(source: Path, target: Path) -> None:
    """Rename, but never over what another export has put there."""
    try:
        source.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        raise RepositoryConflict(f"{target}: another export was faster; export again") from error


def _add_version(new: NewVersion, stage: Path, output: Path) -> None:
    for name in new.configs:
        (output / name).mkdir(exist_ok=True)
        _rename(stage / name / str(new.version), output / name / str(new.version))
    switch(output, new.configs, stage)
    (stage / REPORT_NAME).replace(output / REPORT_NAME)


class Server(Protocol):
    """A server that runs on a repository, and reads a model again when told."""

    def loaded(self, model: str) -> set[int]:
        """Versions of a model that it serves."""
        ...

    def reload(self, model: str) -> None:
        """Read the model's config and versions again."""
        ...

    def wait_until_alone(self, model: str, version: int) -> None:
        """Return when no other version of the model has work left."""
        ...


class NoServer:
    """Nobody serves the repository at the moment."""

    def loaded(self, model: str) -> set[int]:  # noqa: ARG002
        """See Server."""
        return set()

    def reload(self, model: str) -> None:
        """See Server."""

    def wait_until_alone(self, model: str, version: int) -> None:
        """See Server."""


def switch(
    output: Path,
    configs: Mapping[str, pb.ModelConfig],
    stage: Path,
    server: Server = NoServer(),  # noqa: B008 - it has no state
    fallback: Mapping[str, pb.ModelConfig] | None = None,
) -> None:
    """Put the configs of another version in place, the ensemble's last of `configs`; `stage` is for writing.

    The steps first have all versions that are in use as well, until the ensemble points to the new one and
    nobody waits for another; at the end the server holds the new one alone. When the server refuses a step
    or the ensemble, the configs of `fallback` come back. May be repeated, also to finish what was
    interrupted.
    """
    *steps, ensemble = configs
    done: list[str] = []

    def put(name: str, config: pb.ModelConfig) -> None:
        done.append(name)
        _replace_config(stage, output / name, config)
        server.reload(name)

    def settle(name: str) -> None:
        (version,) = loaded_versions(configs[name])
        server.wait_until_alone(name, version)

    try:
        for name in steps:
            put(name, _with_versions_in_use(configs[name], output / name, server.loaded(name)))
        put(ensemble, configs[ensemble])
    except DeepfakeError:
        for name in reversed(done if fallback else []):
            _replace_config(stage, output / name, fallback[name])  # type: ignore[index]
            with contextlib.suppress(DeepfakeError):  # the first error is the one to report
                server.reload(name)
        raise
    settle(ensemble)
    for name in steps:
        put(name, configs[name])
        settle(name)


def _with_versions_in_use(config: pb.ModelConfig, model: Path, loaded: set[int]) -> pb.ModelConfig:
    both = pb.ModelConfig()
    both.CopyFrom(config)
    current = model / CONFIG_NAME
    if current.is_file():
        loaded = loaded | set(loaded_versions(config_from_text(current.read_text())))
    there = {version for version in loaded if (model / str(version)).is_dir()}
    both.version_policy.specific.versions[:] = sorted(there | set(loaded_versions(config)))
    return both


def _replace_config(stage: Path, model: Path, config: pb.ModelConfig) -> None:
    text = stage / CONFIG_NAME
    text.write_text(config_text(config))
    text.replace(model / CONFIG_NAME)
