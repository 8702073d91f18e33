from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake_triton.preprocessing.media.container_probe import is_iso_media, missing_tail_bytes

pytestmark = pytest.mark.fast


def box(kind: bytes, payload: bytes, wide: bool = False) -> bytes:
    if wide:
        return struct.pack(">I4sQ", 1, kind, 16 + len(payload)) + payload
    return struct.pack(">I4s", 8 + len(payload), kind) + payload


def missing(data: bytes) -> int:
    return missing_tail_bytes(io.BytesIO(data), len(data))


boxes = st.lists(
    st.builds(
        box, st.sampled_from([b"moov", b"mdat", b"moof", b"free"]), st.binary(max_size=40), st.booleans()
    ),
    max_size=6,
)


@given(boxes)
def test_a_whole_file_misses_nothing(rest: list[bytes]) -> None:
    assert missing(box(b"ftyp", b"isom") + b"".join(rest)) == 0


@given(boxes, st.data())
def test_a_cut_inside_a_box_tells_how_much_of_it_is_gone(rest: list[bytes], data: st.DataObject) -> None:
    whole = box(b"ftyp", b"isom") + b"".join(rest) + box(b"mdat", bytes(100))
    cut = data.draw(st.integers(1, 92))
    assert missing(whole[:-cut]) == cut


@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_error(data: bytes) -> None:
    file = io.BytesIO(data)
    assert missing_tail_bytes(file, len(data)) >= 0
    assert is_iso_media(file) in (True, False)
    assert file.tell() == 0


@pytest.mark.parametrize("trailer", [b"SEFHlong trailer of a phone", b"\xff" * 50, b"12345678" * 3, bytes(9)])
def test_what_tools_append_is_not_a_cut(trailer: bytes) -> None:
    assert missing(box(b"ftyp", b"isom") + box(b"mdat", bytes(40)) + trailer) == 0


def test_other_formats_are_left_to_the_decoder() -> None:
    assert missing(b"\x1aE\xdf\xa3" + bytes(100)) == 0
    assert missing(b"RIFF\xff\xff\x00\x00AVI " + bytes(10)) == 0
    assert missing(b"") == 0
