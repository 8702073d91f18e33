"""Weights from a file of any name: its format recognized by content, read without running its code."""

from __future__ import annotations

import argparse
import pathlib
import pickle
import re
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from deepfake_triton.errors import CheckpointError
from deepfake_triton.models.checkpoints.sidecar import read_metadata

# Raised by torch.load for truncated files and for other formats.
_UNREADABLE = (
    *(OSError, RuntimeError, EOFError, LookupError, ValueError, TypeError, AttributeError, AssertionError),
    *(NotImplementedError, struct.error, zipfile.BadZipFile, SafetensorError),
)
_SAVE_AGAIN = "save the model's state_dict() with torch.save, and export that file"
QUANTIZED_ADVICE = (
    "export the FP32 or FP16 checkpoint that they were made of, and let `export --precision int8` quantize it"
)
_COPY_AGAIN = "copy or download it again"
_FOREIGN = (
    (b"version https://git-lfs", f"a Git LFS pointer, not the weights: run `git lfs pull`, or {_COPY_AGAIN}"),
    (b"GGUF", f"a GGUF file of quantized weights: {_SAVE_AGAIN}"),
    (b"\x89HDF", f"an HDF5 file, as Keras writes it: {_SAVE_AGAIN}"),
    (b"\x93NUMPY", f"a NumPy array: {_SAVE_AGAIN}"),
    (b"ftrt", f"a TensorRT engine: name the checkpoint that it was made of ({_SAVE_AGAIN})"),
    (b"\x1f\x8b", "a gzip archive: unpack it, and name the file in it"),
    (b"\xfd7zXZ", "an xz archive: unpack it, and name the file in it"),
    (b"(\xb5/\xfd", "a zstd archive: unpack it, and name the file in it"),
    (b"7z\xbc\xaf", "a 7-Zip archive: unpack it, and name the file in it"),
    (b"Rar!", "a RAR archive: unpack it, and name the file in it"),
    (b"BZh", "a bzip2 archive: unpack it, and name the file in it"),
)
_MARKUP = re.compile(rb"\s*<(!doctype|html|\?xml|head|body|!--|error)", re.IGNORECASE)
_ONNX = re.compile(rb"\x08[\x03-\x14][\x12\x1a\x22\x2a\x32\x3a\x42]")
_QUANTIZED_NAMES = re.compile(r"quantized|PackedParams|torchao|bitsandbytes|qtensor", re.IGNORECASE)
_LARGEST_HEADER_BYTES = 100_000_000  # of safetensors, by its own limit


@dataclass(frozen=True)
class StoredWeights:
    """The tensors of a checkpoint file under dotted keys, and its metadata as it is stored."""

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, Any]


def read_weights(path: Path) -> StoredWeights:
    """Read every tensor of a file under a dotted key, and the file's metadata.

    `{'net': {'a.b': tensor}}` gives the key `net.a.b`. Reads safetensors and what
    `torch.load(weights_only=True)` takes. Raises CheckpointError, which names the format that was found.
    """
    try:
        start = _read_start(path)
        if _is_safetensors(start):
            with safe_open(path, framework="pt") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return StoredWeights(tensors, read_metadata(path))
        _refuse_foreign(path, start)
        # An open file, because torch.load chooses the format of a path by its suffix.
        with torch.serialization.safe_globals(_safe_globals()), path.open("rb") as file:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise CheckpointError(f"{path}: is a folder: name the checkpoint file in it") from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path}: {_describe_pickle(path, error)}") from error
    except _UNREADABLE as error:
        raise CheckpointError(
            f"{path}: cannot be read as a checkpoint: {_first_line(error)}; {_COPY_AGAIN} if it was cut"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: got a {type(content).__name__}, expected a state_dict: {_SAVE_AGAIN}")
    metadata = content.pop("metadata", None)
    tensors = _flatten(content)
    if not tensors:
        raise CheckpointError(f"{path}: holds no tensors, expected a state_dict: {_SAVE_AGAIN}")
    return StoredWeights(tensors, dict(metadata) if isinstance(metadata, dict) else {})


def _read_start(path: Path) -> bytes:
    with path.open("rb") as file:
        start = file.read(512)
    if not start:
        raise CheckpointError(f"{path}: an empty file (0 bytes): {_COPY_AGAIN}")
    return start


def _is_safetensors(start: bytes) -> bool:
    """Whether the file begins with the length of a header, and the header with a brace."""
    return start[8:9] == b"{" and 0 < int.from_bytes(start[:8], "little") <= _LARGEST_HEADER_BYTES


def _refuse_foreign(path: Path, start: bytes) -> None:
    """Raise CheckpointError for formats that are often passed by mistake, naming the format."""
    found = next((name for magic, name in _FOREIGN if start.startswith(magic)), None)
    if _MARKUP.match(start):
        found = "a web page, not weights: the download failed or asked for a login; download it again"
    elif start.lstrip()[:1] in (b"{", b"["):
        found = (
            "JSON text, not weights: an index, or the answer of a failed download; name the file of tensors"
        )
    elif _ONNX.match(start):
        found = f"an ONNX graph: export starts from the PyTorch checkpoint; {_SAVE_AGAIN}"
    elif start[4:8] == b"TFL3":
        found = f"a TensorFlow Lite model: {_SAVE_AGAIN}"
    elif start.startswith(b"PK\x03\x04"):
        found = _describe_archive(path)
    if found:
        raise CheckpointError(f"{path}: {found}")


def _describe_archive(path: Path) -> str | None:
    """Describe a zip archive that torch.save did not write; None for one that it did."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.partition("/")[2] or name for name in archive.namelist()}
            nested = {name.rpartition("/")[2] for name in names}
    except zipfile.BadZipFile:
        return f"a torch or zip archive that was cut, its end is missing: {_COPY_AGAIN}"
    if "constants.pkl" in names and "data.pkl" in names:
        return f"a TorchScript archive, which is a program and no state_dict: {_SAVE_AGAIN}"
    if "data.pkl" in names:
        return None
    if nested & {"archive_format", "serialized_exported_program.json"}:
        return f"a program of torch.export: {_SAVE_AGAIN}"
    return "a zip archive without a checkpoint of torch.save: unpack it, and name the file in it"


def _safe_globals() -> list[Any]:
    """Return the plain types that trainers save beside weights, which are safe to unpickle."""
    scalar: Any = np.float64(0).__reduce__()[0]
    array: Any = np.zeros(0).__reduce__()[0]
    named = [
        (value, f"{package}.multiarray.{name}")
        for package in ("numpy.core", "numpy._core")  # of numpy 1, and 2
        for value, name in ((scalar, "scalar"), (array, "_reconstruct"))
    ]
    kinds = [type(np.dtype(code)) for code in ("f2", "f4", "f8", "u1", "i4", "i8", "?", "U")]
    paths = [pathlib.PurePosixPath, pathlib.PosixPath]
    return [argparse.Namespace, np.ndarray, np.dtype, *paths, *kinds, *named]


def _describe_pickle(path: Path, error: pickle.UnpicklingError) -> str:
    """Name the objects that cannot be unpickled without running code, and the next step."""
    try:
        with torch.serialization.safe_globals(_safe_globals()), path.open("rb") as file:
            names = torch.serialization.get_unsafe_globals_in_checkpoint(file)
    except (*_UNREADABLE, pickle.UnpicklingError):
        names = re.findall(r"GLOBAL ([\w.]+)", str(error))
    if any(_QUANTIZED_NAMES.search(name) for name in names):
        return f"holds quantized weights ({names[0]}): {QUANTIZED_ADVICE}"
    if names:
        listed = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
        return (
            f"holds Python objects beside tensors ({listed}), such as a whole pickled model; reading them "
            f"would run code: where that code is installed, {_SAVE_AGAIN}"
        )
    return f"is no checkpoint of torch.save or safetensors, or a damaged one: {_SAVE_AGAIN}"


def _flatten(content: object, prefix: str = "", depth: int = 0) -> dict[str, Tensor]:
    """Return the tensors of nested mappings and lists under dotted keys."""
    if isinstance(content, Tensor):
        return {prefix: content}
    if depth > 8:  # a pickle may hold itself
        return {}
    entries: list[tuple[object, object]] = []
    if isinstance(content, dict):
        entries = list(content.items())
    elif isinstance(content, (list, tuple)):
        entries = list(enumerate(content))
    found: dict[str, Tensor] = {}
    for key, value in entries:
        found |= _flatten(value, f"{prefix}.{key}" if prefix else str(key), depth + 1)
    return found


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
