"""Triton's options on hosts where it serves on a GPU, and where it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepfake_triton.contracts import COMPUTE_RESOURCE
from deepfake_triton.export.repository.configs import INSTANCES, model_configs
from deepfake_triton.models.metadata import PUBLISHED
from deepfake_triton.serving import arguments
from deepfake_triton.serving.installation.find import find_installation
from deepfake_triton.serving.options import ServerOptions
from deepfake_triton.serving.ports import ReservedEndpoints
from deepfake_triton.serving.process.runtime_folder import RuntimeFolder

pytestmark = pytest.mark.fast


def rate_limits(*, on_gpu: bool, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    installation = find_installation()
    monkeypatch.setattr(type(installation), "serves_on_gpu", lambda _self: on_gpu)
    folder = RuntimeFolder()
    try:
        options = ServerOptions.on_free_ports(Path("repository"))
        with ReservedEndpoints(options) as endpoints:
            found = arguments.public_arguments(
                options, endpoints, folder, models=["deepfake_detector"], installation=installation
            )
    finally:
        folder.remove()
    return [argument for argument in found if argument.startswith("--rate-limit")]


def test_networks_take_turns_on_a_cpu_and_none_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rate_limits(on_gpu=False, monkeypatch=monkeypatch) == ["--rate-limit=execution_count"]
    assert rate_limits(on_gpu=True, monkeypatch=monkeypatch) == [
        "--rate-limit=execution_count",
        f"--rate-limit-resource={COMPUTE_RESOURCE}:{arguments.GPU_TURNS}",
    ]
    assert sum(INSTANCES["gpu"].values()) < arguments.GPU_TURNS


def test_the_resource_is_the_one_that_the_networks_take() -> None:
    configs = model_configs(PUBLISHED, 1, weights="custom", export_sha256="", device="gpu")
    named = {
        resource.name
        for config in configs.values()
        for group in config.instance_group
        for resource in group.rate_limiter.resources
    }
    assert named == {COMPUTE_RESOURCE}
