"""What the embedded Triton needs of this environment, said before it starts."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import onnxruntime
import pytest

from deepfake_triton.errors import MissingDependency
from deepfake_triton.serving.installation import base, find
from deepfake_triton.serving.installation.find import find_installation

pytestmark = pytest.mark.fast


def test_numpy_2_is_refused_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_installation().executable.is_file()
    info = tmp_path / "numpy-2.3.4.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 2.3.4\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MissingDependency, match=r"numpy 2\.3\.4 is installed.*empty tensors.*\[server,cpu\]"):
        find_installation()


def test_without_any_triton_the_message_names_what_it_takes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    monkeypatch.setattr(find, "CONTAINER_FOLDER", tmp_path / "none")
    with pytest.raises(
        MissingDependency, match=r"'deepfake-triton\[server,cpu\]' .Linux, x86-64, Python 3\.10"
    ):
        find_installation()


def host(monkeypatch: pytest.MonkeyPatch, *, gpus: int, cuda: bool) -> None:
    """Stand for a host with so many GPUs, and for a build of ONNX Runtime."""
    providers = [*(["CUDAExecutionProvider"] if cuda else []), "CPUExecutionProvider"]
    monkeypatch.setattr(base, "gpu_count", lambda: gpus)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)


@pytest.mark.parametrize("gpus", [0, 2])
@pytest.mark.parametrize("cuda", [False, True])
def test_gpus_are_hidden_from_a_server_that_cannot_use_them(
    monkeypatch: pytest.MonkeyPatch, *, gpus: int, cuda: bool
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    host(monkeypatch, gpus=gpus, cuda=cuda)
    triton = find_installation()
    assert triton.serves_on_gpu() == (gpus > 0 and cuda)
    assert triton.environment()["CUDA_VISIBLE_DEVICES"] == ("1" if gpus and cuda else "")


def test_libraries_are_looked_for_beside_python_wherever_it_was_built(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sysconfig.get_config_var", lambda _name: str(tmp_path / "where it was built"))
    monkeypatch.setenv("LD_LIBRARY_PATH", "/own")
    folders = find_installation().environment()["LD_LIBRARY_PATH"].split(os.pathsep)
    assert folders[1:] == [str(tmp_path / "where it was built"), str(Path(sys.base_prefix) / "lib"), "/own"]
