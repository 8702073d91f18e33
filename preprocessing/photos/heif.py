"""Read the primary image and the orientation of HEIC and AVIF files (ISO/IEC 23008-12)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from deepfake_triton.errors import VideoUndecodable
from deepfake_triton.preprocessing.decoding.orientation import Orientation
from deepfake_triton.preprocessing.media.iso_boxes import Box, boxes, descendant, payload

CODED_ITEMS = frozenset(("hvc1", "hev1", "av01", "avc1", "vvc1", "jpeg"))
"""Types of coded image items; others, such as grids and overlays, are derived from these."""

_MAX_ITEMS, _MAX_ITEM_BYTES = 10_000, 1 << 28
_IN_FILE, _IN_META = 0, 1
"""Location of an item's bytes: construction_method of the box iloc."""


@dataclass(frozen=True)
class Item:
    """One item of a HEIF file: its type, its bytes as [start, end) in the file, its properties in order."""

    kind: str
    extents: tuple[tuple[int, int], ...]
    properties: tuple[Box, ...]

    def property(self, kind: bytes) -> Box | None:
        """Return the first property of a kind, None if there is none."""
        return next((box for box in self.properties if box.kind == kind), None)


@dataclass(frozen=True)
class PrimaryImage:
    """The primary item of a file, and the items that it is derived from: the tiles of a grid, row by row."""

    item: Item
    inputs: tuple[Item, ...]


def read_primary_image(path: Path, file: BinaryIO, size: int) -> PrimaryImage | None:
    """Read the primary image of a HEIC or AVIF file of `size` bytes from its box `meta`; None without one.

    `path` names it in messages. Leaves the position at the start. Raises VideoUndecodable for boxes that
    contradict each other.
    """
    meta = next((box for box in islice(boxes(file, 0, size), 100) if box.kind == b"meta"), None)
    try:
        return None if meta is None else _read_primary(file, Box(meta.kind, meta.start + 4, meta.end))
    except (IndexError, KeyError) as error:
        raise VideoUndecodable(f"{path}: a HEIC or AVIF file with damaged boxes; copy it again") from error
    finally:
        file.seek(0)


def read_orientation_of_item(file: BinaryIO, item: Item) -> Orientation:
    """Combine the rotations and mirrors of an item in the order of the file (6.5.10 and 6.5.12)."""
    orientation = Orientation()
    for box in item.properties:
        value = payload(file, box, 1)[:1]
        if box.kind == b"irot" and value:
            orientation = orientation.then(Orientation(False, value[0] & 3))
        elif box.kind == b"imir" and value:
            orientation = orientation.then(Orientation(True, 0 if value[0] & 1 else 2))
    return orientation


def read_item(file: BinaryIO, item: Item) -> bytes:
    """Read the bytes of an item. Raises ValueError for more than 256 MiB."""
    if sum(end - start for start, end in item.extents) > _MAX_ITEM_BYTES:
        raise ValueError(f"an item claims more than {_MAX_ITEM_BYTES >> 20} MiB")
    parts = []
    for start, end in item.extents:
        file.seek(start)
        parts.append(file.read(end - start))
    return b"".join(parts)


def _read_primary(file: BinaryIO, meta: Box) -> PrimaryImage | None:
    found = {box.kind: box for box in boxes(file, meta.start, meta.end)}
    if not {b"pitm", b"iinf", b"iloc", b"iprp"} <= found.keys():
        return None
    pitm = payload(file, found[b"pitm"])
    primary = int.from_bytes(pitm[4:8] if pitm[0] else pitm[4:6], "big")
    kinds = dict(_read_item_kinds(file, found[b"iinf"]))
    extents = dict(_read_item_extents(payload(file, found[b"iloc"]), found.get(b"idat")))
    properties = _read_item_properties(file, found[b"iprp"])
    inputs = _read_inputs(payload(file, found[b"iref"]), primary) if b"iref" in found else []

    def item(number: int) -> Item:
        return Item(kinds[number], extents.get(number, ()), properties.get(number, ()))

    return PrimaryImage(item(primary), tuple(item(number) for number in inputs))


def _read_item_kinds(file: BinaryIO, iinf: Box) -> Iterator[tuple[int, str]]:
    """Yield number and type of each item, from the entries `infe` of version 2 and 3."""
    first = payload(file, iinf, 4)[0]
    for box in islice(boxes(file, iinf.start + (8 if first else 6), iinf.end), _MAX_ITEMS):
        entry = payload(file, box, 16)
        wide = 2 if entry[0] >= 3 else 0
        yield int.from_bytes(entry[4 : 6 + wide], "big"), entry[8 + wide : 12 + wide].decode("latin-1")


class _Fields:
    """Reader of consecutive big-endian integers."""

    def __init__(self, data: bytes, position: int = 0) -> None:
        self.data, self.position = data, position

    def next(self, size: int) -> int:
        """Read the next `size` bytes as one integer; 0 for no bytes. Raises IndexError behind the end."""
        self.position += size
        if self.position > len(self.data):
            raise IndexError(self.position)
        return int.from_bytes(self.data[self.position - size : self.position], "big")


def _read_item_extents(iloc: bytes, idat: Box | None) -> Iterator[tuple[int, tuple[tuple[int, int], ...]]]:
    """Yield the number of each item and the extents of its bytes in the file (ISO/IEC 14496-12, 8.11.3)."""
    fields = _Fields(iloc)
    version = fields.next(1)
    fields.next(3)
    sizes, more = fields.next(1), fields.next(1)
    offset_size, length_size, base_size = sizes >> 4, sizes & 15, more >> 4
    index_size, total = more & 15 if version else 0, 0
    for _ in range(fields.next(4 if version == 2 else 2)):
        number = fields.next(4 if version == 2 else 2)
        method = fields.next(2) & 15 if version else _IN_FILE
        fields.next(2)
        base, extents = fields.next(base_size), []
        if method == _IN_META and idat is not None:
            base += idat.start
        count = fields.next(2)
        total += count
        if total > _MAX_ITEMS:  # fields of no bytes would let a small file claim billions
            raise IndexError(total)
        for _ in range(count):
            fields.next(index_size)
            start = base + fields.next(offset_size)
            extents.append((start, start + fields.next(length_size)))
        yield number, tuple(extents)


def _read_item_properties(file: BinaryIO, iprp: Box) -> dict[int, tuple[Box, ...]]:
    """Return the properties that each item is associated with, in order."""
    container = descendant(file, iprp, b"ipco")
    known = [] if container is None else list(boxes(file, container.start, container.end))
    properties: dict[int, tuple[Box, ...]] = {}
    for box in boxes(file, iprp.start, iprp.end):
        if box.kind != b"ipma":
            continue
        fields = _Fields(payload(file, box))
        version, flags = fields.next(1), fields.next(3)
        for _ in range(fields.next(4)):
            number = fields.next(4 if version else 2)
            wide = flags & 1
            indices = [
                fields.next(2) & 0x7FFF if wide else fields.next(1) & 0x7F for _ in range(fields.next(1))
            ]
            properties[number] = tuple(known[index - 1] for index in indices if index)
    return properties


def _read_inputs(iref: bytes, primary: int) -> list[int]:
    """Return the items that `primary` is derived from, in order: its reference of type `dimg`."""
    fields = _Fields(iref)
    wide = 4 if fields.next(1) else 2
    fields.next(3)
    while fields.position < len(iref):
        start = fields.position
        length, kind, source = fields.next(4), fields.next(4), fields.next(wide)
        if kind == int.from_bytes(b"dimg", "big") and source == primary:
            return [fields.next(wide) for _ in range(fields.next(2))]
        fields.position = start + max(length, 8)
    return []
