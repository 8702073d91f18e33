from __future__ import annotations

import struct

import pytest
from fatbin_files import Fatbin, fatbin_library
from hypothesis import given
from hypothesis import strategies as st

from deepfake_triton.benchmarks.gpu_day.lean_cuda import find_section, keep_architecture, zero_section
from deepfake_triton.errors import InputError

pytestmark = pytest.mark.fast

CONVOLUTION = {75: b"oldest convolution", 90: b"hopper convolution"}
ATTENTION = {80: b"ampere attention", 90: b"hopper attention"}
PAYLOADS = st.dictionaries(st.sampled_from([75, 80, 90, 120]), st.binary(min_size=1, max_size=99), min_size=1)


def test_only_one_architecture_of_kernels_that_all_have_is_kept() -> None:
    library = fatbin_library([CONVOLUTION, ATTENTION])
    lean = keep_architecture(library, 90)
    assert lean.content == library.replace(b"oldest convolution", bytes(18)).replace(
        b"ampere attention", bytes(16)
    ).replace(b"hopper attention", bytes(16))
    assert (lean.kept_bytes, lean.zeroed_bytes) == (18, 50)


def test_all_kernels_of_the_architecture_are_kept_on_request() -> None:
    lean = keep_architecture(fatbin_library([CONVOLUTION, ATTENTION]), 90, all_kernels=True)
    assert b"hopper attention" in lean.content and b"ampere attention" not in lean.content


@given(st.lists(PAYLOADS, min_size=1, max_size=5), st.booleans())
def test_all_else_stays_where_it_was(fatbins: list[Fatbin], all_kernels: bool) -> None:
    architectures = sorted({architecture for fatbin in fatbins for architecture in fatbin})
    kept = architectures[-1]

    def is_kept(fatbin: Fatbin, architecture: int) -> bool:
        return architecture == kept and (all_kernels or architectures[0] in fatbin)

    expected = fatbin_library(
        [
            {
                architecture: payload if is_kept(fatbin, architecture) else bytes(len(payload))
                for architecture, payload in fatbin.items()
            }
            for fatbin in fatbins
        ]
    )
    lean = keep_architecture(fatbin_library(fatbins), kept, all_kernels=all_kernels)
    assert lean.content == expected
    total = sum(len(payload) for fatbin in fatbins for payload in fatbin.values())
    assert lean.kept_bytes + lean.zeroed_bytes == total
    assert keep_architecture(lean.content, kept, all_kernels=all_kernels).content == expected


def test_an_architecture_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(InputError, match="no code for sm_86: got sm_75, sm_80, sm_90"):
        keep_architecture(fatbin_library([CONVOLUTION, ATTENTION]), 86)
    with pytest.raises(InputError, match="got none"):
        keep_architecture(fatbin_library([]), 90)


def test_a_section_becomes_zeros() -> None:
    library = fatbin_library([CONVOLUTION], section=".rodata")
    start, end = find_section(library, ".rodata")
    zeroed = zero_section(library, ".rodata")
    assert zeroed[start:end] == bytes(end - start) and b"convolution" in library[start:end]
    assert (zeroed[:start], zeroed[end:]) == (library[:start], library[end:])
    with pytest.raises(InputError, match=r"has no section \.nv_fatbin"):
        keep_architecture(library, 90)


def test_what_is_no_library_is_refused() -> None:
    library = fatbin_library([CONVOLUTION])
    with pytest.raises(InputError, match=r"starts with b'MZ\\x90', expected a 64-bit"):
        keep_architecture(b"MZ\x90", 90)
    for length in (6, 50, len(library) - 30):
        with pytest.raises(InputError, match="is cut off"):
            keep_architecture(library[:length], 90)


def test_a_fatbin_that_ends_elsewhere_than_it_says_is_refused() -> None:
    library = bytearray(fatbin_library([CONVOLUTION]))
    start, end = find_section(bytes(library), ".nv_fatbin")
    struct.pack_into("<Q", library, start + 16 + 8, end)
    with pytest.raises(InputError, match=f"its section at {end}"):
        keep_architecture(bytes(library), 90)
    library = bytearray(fatbin_library([CONVOLUTION]))
    struct.pack_into("<Q", library, start + 32 + 8, end)
    with pytest.raises(InputError, match="the fatbin's entry at byte"):
        keep_architecture(bytes(library), 90)
