"""The switch of a repository's configs from one version to another, under a running server or none."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from tritonclient.grpc import model_config_pb2 as pb

from deepfake_triton.errors import DeepfakeError
from deepfake_triton.export.repository.configs import config_from_text, config_text, loaded_versions
from deepfake_triton.repository.files import CONFIG_NAME

Configs = Mapping[str, pb.ModelConfig]
"""Configs by model name; the ensemble that clients call comes last."""


class Server(Protocol):
    """A server running on a repository under explicit model control."""

    def loaded(self, model: str) -> set[int]:
        """Return the versions of a model that it serves."""
        ...

    def reload(self, model: str) -> None:
        """Reload the model's config and versions."""
        ...

    def wait_until_drained(self, model: str, version: int) -> None:
        """Wait until no other version of the model has requests in flight."""
        ...


class NoServer:
    """Stands for a server where none is running."""

    def loaded(self, model: str) -> set[int]:  # noqa: ARG002
        """See Server."""
        return set()

    def reload(self, model: str) -> None:
        """See Server."""

    def wait_until_drained(self, model: str, version: int) -> None:
        """See Server."""


def transition_configs(output: Path, configs: Configs, server: Server) -> dict[str, pb.ModelConfig]:
    """Return the configs of the steps that load all versions in use beside the new one, with the outputs of
    both."""
    *steps, _ = configs
    return {name: _with_versions_in_use(configs[name], output / name, server.loaded(name)) for name in steps}


def possible_configs(*changes: Configs) -> dict[str, set[str | None]]:
    """Return, for the repository's record, the SHA-256 of every config that may stand there, by its path."""
    possible: dict[str, set[str | None]] = {}
    for configs in changes:
        for name, config in configs.items():
            digest = hashlib.sha256(config_text(config).encode()).hexdigest()
            possible.setdefault(f"{name}/{CONFIG_NAME}", set()).add(digest)
    return possible


def switch(
    output: Path,
    configs: Configs,
    *,
    transition: Configs,
    stage: Path,
    server: Server = NoServer(),  # noqa: B008 - it has no state
    fallback: Configs | None = None,
) -> None:
    """Put the configs of another version in place, the ensemble's last; files are written in `stage` first.

    The steps load all versions in use as well (`transition`) until the ensemble points to the new one and the
    others are drained; then the server holds the new one alone. When the server refuses a step or the
    ensemble, the configs of `fallback` are restored. May be repeated, also to complete an interrupted call.
    """
    *steps, ensemble = configs
    applied: list[str] = []

    def apply(name: str, config: pb.ModelConfig) -> None:
        applied.append(name)
        _replace_config(stage, output / name, config)
        server.reload(name)

    def drain(name: str) -> None:
        (version,) = loaded_versions(configs[name])
        server.wait_until_drained(name, version)

    try:
        for name in steps:
            apply(name, transition[name])
        apply(ensemble, configs[ensemble])
    except DeepfakeError:
        for name in (name for name in reversed(applied) if fallback and name in fallback):
            _replace_config(stage, output / name, fallback[name])  # type: ignore[index]
            with contextlib.suppress(DeepfakeError):  # the first error is the one to report
                server.reload(name)
        raise
    drain(ensemble)
    for name in steps:
        apply(name, configs[name])
        drain(name)


def _with_versions_in_use(config: pb.ModelConfig, model: Path, loaded: set[int]) -> pb.ModelConfig:
    both = pb.ModelConfig()
    both.CopyFrom(config)
    current = model / CONFIG_NAME
    if current.is_file():
        before = config_from_text(current.read_text())
        loaded = loaded | set(loaded_versions(before))
        known = {output.name for output in config.output}
        both.output.extend(output for output in before.output if output.name not in known)
    there = {version for version in loaded if (model / str(version)).is_dir()}
    both.version_policy.specific.versions[:] = sorted(there | set(loaded_versions(config)))
    return both


def _replace_config(stage: Path, model: Path, config: pb.ModelConfig) -> None:
    text = stage / CONFIG_NAME
    text.write_text(config_text(config))
    text.replace(model / CONFIG_NAME)
