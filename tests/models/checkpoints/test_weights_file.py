"""What is handed in as a checkpoint: known by its content, read without running code, or refused by name."""

from __future__ import annotations

import argparse
import gzip
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save

from deepfake_triton.errors import CheckpointError
from deepfake_triton.models.checkpoints.weights_file import read_weights
from deepfake_triton.models.detectors.weights import find_centerface

pytestmark = pytest.mark.fast

WEIGHTS = {"model.0.weight": torch.arange(6.0).reshape(2, 3)}


class Executed:
    """Pickles to a call that writes a file: proof that code of the file ran, or did not."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return (Path.touch, (self.path,))


def saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt", "weights.bin", "weights"])
@pytest.mark.parametrize(
    "content", [save(WEIGHTS, {"temporal": "sequence"}), saved(WEIGHTS)], ids=["st", "pt"]
)
def test_either_format_is_read_under_any_name(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    stored = read_weights(path)
    assert list(stored.tensors) == ["model.0.weight"]
    assert torch.equal(stored.tensors["model.0.weight"], *WEIGHTS.values())
    assert stored.metadata == ({"temporal": "sequence"} if content[8:9] == b"{" else {})


def test_what_trainers_save_beside_weights_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "trainer.pt"
    beside = {
        "args": argparse.Namespace(lr=0.1, folder=Path("runs")),
        "best": np.float64(0.9), "curve": np.ones(3, np.float32), "names": {"a": [1, "b"]},
    }  # fmt: skip
    torch.save({"net": WEIGHTS, "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}}, **beside}, path)
    assert sorted(read_weights(path).tensors) == ["net.model.0.weight", "optimizer.state.0.step"]


def zip_of(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, "x")
    return buffer.getvalue()


def torchscript() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "an empty file .0 bytes.: copy or download it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS pointer.*git lfs pull"),
        (b"<!DOCTYPE html>\n<html><body>Sign in</body></html>", "a web page, not weights"),
        (b"\n <html>", "a web page, not weights"),
        (b"<Error><Code>AccessDenied</Code></Error>", "a web page, not weights"),
        (b'{"error": "Repository not found"}', "JSON text, not weights"),
        (b"no checkpoint\n", "is no checkpoint of torch.save or safetensors"),
        (find_centerface().read_bytes()[:4096], "an ONNX graph: export starts from the PyTorch checkpoint"),
        (gzip.compress(b"weights", mtime=0), "a gzip archive: unpack it"),
        (zip_of("folder/model.bin"), "a zip archive without a checkpoint"),
        (torchscript(), "a TorchScript archive, which is a program"),
        (saved(WEIGHTS)[:200], "was cut, its end is missing"),
        (save(WEIGHTS)[:-4], "cannot be read as a checkpoint.*if it was cut"),
        (saved({}), "holds no tensors"),
        (saved({"epoch": 3}), "holds no tensors"),
        (saved([1, 2]), "got a list, expected a state_dict"),
        (saved(torch.nn.Linear(2, 2)), "holds Python objects beside tensors .torch.nn.modules.linear.Linear"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_none_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    for name in ("given.pt", "given.safetensors"):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=says) as caught:
            read_weights(path)
        assert str(caught.value).startswith(f"{path}: ") and len(str(caught.value).splitlines()) == 1


def test_folders_and_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is a folder: name the checkpoint file in it"):
        read_weights(tmp_path)
    with pytest.raises(CheckpointError, match="no such file"):
        read_weights(tmp_path / "missing.pt")


@pytest.mark.parametrize("legacy", [False, True])
def test_no_code_of_the_file_is_run(tmp_path: Path, legacy: bool) -> None:
    path, trace = tmp_path / "hostile.pt", tmp_path / "executed"
    torch.save({**WEIGHTS, "x": Executed(trace)}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match="would run code"):
        read_weights(path)
    assert not trace.exists()
