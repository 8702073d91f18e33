"""How the configs of a repository change from one version to another, under a server that runs or not."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from tritonclient.grpc import model_config_pb2 as pb

from deepfake_triton.errors import DeepfakeError
from deepfake_triton.export.configs import config_from_text, config_text, loaded_versions
from deepfake_triton.repository_files import CONFIG_NAME

Configs = Mapping[str, pb.ModelConfig]
"""By model, the ensemble that clients ask last."""


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


def configs_meanwhile(output: Path, configs: Configs, server: Server) -> dict[str, pb.ModelConfig]:
    """The configs of the steps with all versions that are in use beside the new one."""
    *steps, _ = configs
    return {name: _with_versions_in_use(configs[name], output / name, server.loaded(name)) for name in steps}


def config_outcomes(*changes: Configs) -> dict[str, set[str | None]]:
    """For the repository's record: SHA-256 of every config that may stand there, by its path."""
    outcomes: dict[str, set[str | None]] = {}
    for configs in changes:
        for name, config in configs.items():
            digest = hashlib.sha256(config_text(config).encode()).hexdigest()
            outcomes.setdefault(f"{name}/{CONFIG_NAME}", set()).add(digest)
    return outcomes


def switch(
    output: Path,
    configs: Configs,
    meanwhile: Configs,
    stage: Path,
    server: Server = NoServer(),  # noqa: B008 - it has no state
    fallback: Configs | None = None,
) -> None:
    """Put the configs of another version in place, the ensemble's last of `configs`; `stage` is for writing.

    The steps first have all versions that are in use as well (`meanwhile`), until the ensemble points to the
    new one and nobody waits for another; at the end the server holds the new one alone. When the server
    refuses a step or the ensemble, the configs of `fallback` come back. May be repeated, also to finish what
    was interrupted.
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
            put(name, meanwhile[name])
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
