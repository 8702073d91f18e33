"""Portraits in one memory-mapped file: found once, then trained on without a detector or a video decoder.

The file is a magic number, the length of the index (8 bytes, little-endian), the index as JSON, and for each
portrait its picture as JPEG or WebP, followed by its mesh as float32, little-endian, where it has one.
"""

from __future__ import annotations

import json
import mmap
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, overload

import cv2
import numpy as np

from deepfake_triton.arrays import Image
from deepfake_triton.dataset_manifest import SPLITS, Split
from deepfake_triton.errors import DatasetError
from deepfake_triton.files.atomic import atomic_write
from deepfake_triton.models.face_mesh.topology import NUM_POINTS, Mesh
from deepfake_triton.training.faces.portraits import Portrait

PictureFormat = Literal["jpeg", "webp"]
_MAGIC = b"DFTFACE1"
_LENGTH_BYTES = 8
_CACHED_PORTRAITS = 256
"""Decoded portraits that each process keeps: about 100 MB."""
_MESH_DTYPE = np.dtype("<f4")
_MESH_BYTES = NUM_POINTS * 3 * _MESH_DTYPE.itemsize
_LOSSLESS = 101  # OpenCV's WebP quality above the scale


@dataclass(frozen=True)
class StoredPortrait:
    """Entry of the index: all of a portrait but its pixels, which are `size` bytes from `offset` on.

    `offset` counts from the end of the index. The mesh is the `mesh_size` bytes after them: none in files of
    before there were meshes.
    """

    path: str
    identity: str
    split: Split
    box: tuple[float, ...]
    landmarks: tuple[tuple[float, float], ...]
    offset: int
    size: int
    mesh_size: int = 0


@dataclass(frozen=True)
class PictureQuality:
    """Compression of the pictures: a quality of 1…100, of which WebP's 100 is lossless."""

    format: PictureFormat = "jpeg"
    quality: int = 95

    def encode(self, image: Image) -> bytes:
        """Return `image` [H, W, 3] uint8 RGB as a file's content."""
        if self.format == "webp":
            quality = _LOSSLESS if self.quality == 100 else self.quality
            ok, data = cv2.imencode(".webp", image[:, :, ::-1], [cv2.IMWRITE_WEBP_QUALITY, quality])
        else:
            options = [cv2.IMWRITE_JPEG_QUALITY, self.quality]
            # Halved color planes would blur the skin of reals and self-blends alike, and of no donor.
            options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
            ok, data = cv2.imencode(".jpg", image[:, :, ::-1], options)
        assert ok
        return data.tobytes()


def write_portrait_file(
    file: Path,
    portraits: Mapping[Split, Sequence[Portrait]],
    *,
    manifest_sha256: str,
    quality: PictureQuality,
) -> None:
    """Write the portraits of each split, and the hash of the manifest that they come from."""
    entries, pictures, offset = [], [], 0
    for split, members in portraits.items():
        for portrait in members:
            data = quality.encode(portrait.pixels)
            mesh = b"" if portrait.mesh is None else portrait.mesh.astype(_MESH_DTYPE).tobytes()
            entry = StoredPortrait(
                path=portrait.path,
                identity=portrait.identity,
                split=split,
                box=tuple(portrait.box.tolist()),
                landmarks=tuple((float(x), float(y)) for x, y in portrait.landmarks),
                offset=offset,
                size=len(data),
                mesh_size=len(mesh),
            )
            entries.append(asdict(entry))
            pictures.append(data + mesh)
            offset += len(data) + len(mesh)
    index = json.dumps({"manifest_sha256": manifest_sha256, "portraits": entries}).encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(file) as partial, partial.open("wb") as target:
        target.write(_MAGIC + len(index).to_bytes(_LENGTH_BYTES, "little") + index)
        target.writelines(pictures)


def is_portrait_file(path: Path) -> bool:
    """Tell whether a file begins as one written by `write_portrait_file`."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


@dataclass(frozen=True)
class PortraitFile:
    """The index of a file of portraits; `pictures_at` is where the first picture begins."""

    path: Path
    manifest_sha256: str
    entries: tuple[StoredPortrait, ...]
    pictures_at: int

    def split(self, split: Split) -> StoredPortraits:
        """Return the portraits of a split."""
        members = tuple(entry for entry in self.entries if entry.split == split)
        return StoredPortraits(self.path, members, self.pictures_at)


def read_portrait_file(path: Path) -> PortraitFile:
    """Read the index. Raises DatasetError when the file is damaged or cut short."""
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            whole = path.stat().st_size
            if magic != _MAGIC or length > whole:
                raise ValueError("its beginning is not that of a file of portraits")
            stored = json.loads(file.read(length))
        entries = tuple(_entry(values) for values in stored["portraits"])
        manifest_sha256 = str(stored["manifest_sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path}: cannot be read as portraits: {error}; {_ADVICE}") from error
    start = len(_MAGIC) + _LENGTH_BYTES + length
    end = start + max((entry.offset + entry.size + entry.mesh_size for entry in entries), default=0)
    if whole != end or any(entry.offset < 0 or entry.size <= 0 for entry in entries):
        raise DatasetError(f"{path}: got {whole} bytes, expected {end} by its index; {_ADVICE}")
    return PortraitFile(path, manifest_sha256, entries, start)


_ADVICE = "write it again with `dataset portraits`"


def _entry(values: dict[str, Any]) -> StoredPortrait:
    entry = StoredPortrait(**{**values, "box": tuple(values["box"]), "landmarks": tuple(values["landmarks"])})
    shapes = np.array(entry.box, float).shape, np.array(entry.landmarks, float).shape
    if shapes != ((4,), (5, 2)) or entry.split not in SPLITS:
        raise ValueError(f"the entry of {entry.path} has box, landmarks {shapes} and split {entry.split}")
    if entry.mesh_size not in (0, _MESH_BYTES):
        raise ValueError(f"the mesh of {entry.path} has {entry.mesh_size} bytes, expected {_MESH_BYTES}")
    return entry


class StoredPortraits(Sequence[Portrait]):
    """Portraits decoded from the file when they are used; other processes map the same pages of it."""

    def __init__(self, path: Path, entries: tuple[StoredPortrait, ...], pictures_at: int) -> None:
        self._path, self._entries, self._pictures_at = path, entries, pictures_at
        self._map: mmap.mmap | None = None
        self._decoded: OrderedDict[int, Portrait] = OrderedDict()

    def __reduce__(self) -> tuple[Any, ...]:
        """Send what names the file, not its content, to a worker process."""
        return StoredPortraits, (self._path, self._entries, self._pictures_at)

    def __len__(self) -> int:
        return len(self._entries)

    def count_without_mesh(self) -> int:
        """Return how many of them have no face mesh; no picture is decoded."""
        return sum(not entry.mesh_size for entry in self._entries)

    @overload
    def __getitem__(self, index: int) -> Portrait: ...
    @overload
    def __getitem__(self, index: slice) -> list[Portrait]: ...
    def __getitem__(self, index: int | slice) -> Portrait | list[Portrait]:
        """Return one portrait, or those of a slice. Raises DatasetError for a damaged picture."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        if index not in self._decoded:
            self._decoded[index] = self._decode(self._entries[index])
            if len(self._decoded) > _CACHED_PORTRAITS:
                self._decoded.popitem(last=False)
        self._decoded.move_to_end(index)
        return self._decoded[index]

    def _decode(self, entry: StoredPortrait) -> Portrait:
        if self._map is None:
            with self._path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        start = self._pictures_at + entry.offset
        data = np.frombuffer(self._map[start : start + entry.size], np.uint8)
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR)
        if pixels is None:
            raise DatasetError(f"{self._path}: the picture of {entry.path} is damaged; {_ADVICE}")
        return Portrait(
            pixels=np.ascontiguousarray(pixels[:, :, ::-1], np.uint8),
            box=np.array(entry.box),
            landmarks=np.array(entry.landmarks),
            path=entry.path,
            identity=entry.identity,
            mesh=self._mesh(entry),
        )

    def _mesh(self, entry: StoredPortrait) -> Mesh | None:
        if not entry.mesh_size or self._map is None:
            return None
        start = self._pictures_at + entry.offset + entry.size
        values = np.frombuffer(self._map[start : start + entry.mesh_size], _MESH_DTYPE)
        return values.reshape(NUM_POINTS, 3).astype(np.float64)
