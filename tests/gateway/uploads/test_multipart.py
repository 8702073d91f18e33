"""Multipart bodies, as browsers and curl send them, whole, broken and hostile."""

from __future__ import annotations

import asyncio
import itertools
import os
import tracemalloc
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfake_triton.errors import UploadMalformed, UploadTooLarge
from deepfake_triton.gateway.settings import Limits
from deepfake_triton.gateway.uploads.multipart import MAX_FIELD_BYTES, MAX_FILES, read_multipart
from deepfake_triton.gateway.uploads.spool import Spool, Upload

pytestmark = pytest.mark.fast

CONTENT_TYPE = "multipart/form-data; boundary=XYZ"
LIMITS = Limits(max_upload_bytes=2**26, spool_reserve_bytes=0)
VIDEO = b"\x00\r\n--XY\r\n--XYA\r\n-\r\r\n--" + bytes(range(256)) + b"\r\n"


def part(disposition: str, content: bytes, *, encoding: str = "utf-8") -> bytes:
    """One part of a body."""
    head = f"--XYZ\r\nContent-Disposition: form-data; {disposition}\r\nContent-Type: video/mp4\r\n\r\n"
    return head.encode(encoding) + content + b"\r\n"


FORM = part('name="preview"', b"1") + part('name="file"; filename="clip.mp4"', VIDEO) + b"--XYZ--\r\n"


@pytest.fixture(scope="module")
def spool() -> Iterator[Spool]:
    opened = Spool(None, LIMITS)
    yield opened
    opened.close()


async def _stream(chunks: Sequence[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def read(
    spool: Spool, *chunks: bytes, content_type: str = CONTENT_TYPE
) -> tuple[list[Upload], dict[str, str]]:
    """Read a body that comes in these chunks."""
    body = asyncio.run(read_multipart(content_type, _stream(chunks), spool))
    return list(body.uploads), dict(body.fields)


def _open_spool_files(spool: Spool) -> int:
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(entry.readlink()))
        except FileNotFoundError:
            continue
    return sum(link.endswith("(deleted)") and link.startswith(str(spool.folder)) for link in links)


def test_a_form_is_read_whole(spool: Spool) -> None:
    (upload,), fields = read(spool, FORM)
    assert fields == {"preview": "1"}
    assert (upload.name, upload.size_bytes, upload.file.read()) == ("clip.mp4", len(VIDEO), VIDEO)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, len(FORM)), max_size=12), st.booleans())
def test_any_split_gives_the_same(cuts: list[int], by_byte: bool) -> None:
    spool = Spool(None, LIMITS)
    places = list(range(len(FORM) + 1)) if by_byte else [0, *sorted(cuts), len(FORM)]
    chunks = [FORM[a:b] for a, b in itertools.pairwise(places)]
    (upload,), fields = read(spool, *chunks)
    assert (upload.file.read(), fields) == (VIDEO, {"preview": "1"})
    spool.close()


def test_several_files_keep_their_order_and_an_empty_choice_is_none(spool: Spool) -> None:
    body = part('name="file"; filename="a.mp4"', b"A") + part('name="file"; filename="b.mp4"', b"")
    empty = part('name="other"; filename=""', b"")
    uploads, fields = read(spool, body + empty + b"--XYZ--")
    assert [(upload.name, upload.size_bytes) for upload in uploads] == [("a.mp4", 1), ("b.mp4", 0)]
    assert fields == {}


@pytest.mark.parametrize(
    ("disposition", "encoding", "expected"),
    [
        ('filename="größe 面.mp4"', "utf-8", "größe 面.mp4"),  # every browser
        ('filename="größe.mp4"', "latin-1", "größe.mp4"),
        ('filename="a%22b.mp4"', "utf-8", 'a"b.mp4'),  # browsers, curl
        (r'filename="a\"b;c.mp4"', "utf-8", 'a"b;c.mp4'),  # older curl
        ("filename=\"x\"; filename*=UTF-8''gr%C3%B6%C3%9Fe.mp4", "utf-8", "größe.mp4"),
        ('filename="C:\\videos\\clip.mp4"', "utf-8", "clip.mp4"),
        ('filename="../../etc/passwd"', "utf-8", "passwd"),
        ("filename=clip.mp4", "utf-8", "clip.mp4"),
    ],
)
def test_file_names_as_they_are_sent(spool: Spool, disposition: str, encoding: str, expected: str) -> None:
    body = part(f'name="file"; {disposition}', b"A", encoding=encoding) + b"--XYZ--"
    (upload,), _ = read(spool, body)
    assert upload.name == expected


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (FORM[:-9], "cut off"),
        (FORM[:40], "cut off"),
        (b"", "cut off"),
        (b"--XYZ--\r\n", "no file"),
        (part('name="preview"', b"1") + b"--XYZ--", "no file"),
        (b"hello", "no multipart"),
        (b"--XYZ\r\nContent-Type: video/mp4\r\n\r\nA\r\n--XYZ--", "name each part"),
        (b"--XYZ\r\nX: " + b"x" * 9000, "header size"),
        (part('name="note"', b"x" * (MAX_FIELD_BYTES + 1)) + b"--XYZ--", "with a file name"),
        (part('name="video"', b"\xff\xfe") + b"--XYZ--", "no UTF-8"),
        (b"x--XYZ\r\nhello", "no boundary"),
        (part('name="a"', b"") * 100 + b"--XYZ--", "parts"),
        (part('name="file"; filename="a"', b"A") * (MAX_FILES + 1) + b"--XYZ--", "files"),
    ],
)
def test_broken_bodies_are_refused_and_leave_nothing(spool: Spool, body: bytes, message: str) -> None:
    before = _open_spool_files(spool)
    for chunks in ([body], [body[i : i + 7] for i in range(0, len(body), 7)]):
        with pytest.raises(UploadMalformed, match=message):
            read(spool, *chunks)
    assert _open_spool_files(spool) == before


@pytest.mark.parametrize("preamble", [b"\r\n", b"This is a message in parts.\r\n", b"--XY\r\n--\r\n\n"])
def test_what_precedes_the_first_boundary_is_skipped(spool: Spool, preamble: bytes) -> None:
    body = preamble + FORM
    for step in (1, 7, len(body)):
        (upload,), fields = read(spool, *[body[i : i + step] for i in range(0, len(body), step)])
        assert (upload.file.read(), fields) == (VIDEO, {"preview": "1"})


def test_the_part_named_file_is_one_without_a_file_name_too(spool: Spool) -> None:
    (upload,), fields = read(spool, part('name="file"', VIDEO) + b"--XYZ--")
    assert (upload.name, upload.file.read(), fields) == ("upload", VIDEO, {})


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "text/plain; boundary=XYZ",
        "",
        "a/b; boundary=ä€",
    ],
)
def test_other_types_are_refused(spool: Spool, content_type: str) -> None:
    with pytest.raises(UploadMalformed, match="multipart/form-data"):
        read(spool, FORM, content_type=content_type)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.binary(max_size=40)
        | st.sampled_from(
            [
                b"--XYZ",
                b"\r\n",
                b"--XYZ--",
                b"\r\n\r\n",
                b'Content-Disposition: form-data; name="a"',
                b"--",
                b":",
            ]
        ),
        max_size=20,
    )
)
def test_no_bytes_crash_it(chunks: list[bytes]) -> None:
    spool = Spool(None, LIMITS)
    before = _open_spool_files(spool)
    try:
        uploads, _ = read(spool, *chunks)
    except UploadMalformed:
        assert _open_spool_files(spool) == before
    else:
        assert uploads
        for upload in uploads:
            upload.close()
    spool.close()


def test_the_limit_counts_all_files_and_memory_stays_bounded(tmp_path: Path) -> None:
    chunk = os.urandom(2**16)

    async def endless() -> AsyncIterator[bytes]:
        yield part('name="file"; filename="a.mp4"', b"A")
        yield b'--XYZ\r\nContent-Disposition: form-data; name="file"; filename="b.mp4"\r\n\r\n'
        while True:
            yield chunk

    spool = Spool(tmp_path, LIMITS)
    tracemalloc.start()
    try:
        with pytest.raises(UploadTooLarge, match="expected 67108864 at most"):
            asyncio.run(read_multipart(CONTENT_TYPE, endless(), spool))
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    finally:
        tracemalloc.stop()
        spool.close()
    assert _open_spool_files(spool) == 0


def test_a_client_that_leaves_leaves_nothing(tmp_path: Path) -> None:
    async def leaves() -> AsyncIterator[bytes]:
        yield part('name="file"; filename="a.mp4"', b"A" * 2**21)
        yield FORM[:100]
        raise UploadMalformed("body: cut off")

    spool = Spool(tmp_path, LIMITS)
    with pytest.raises(UploadMalformed, match="body: cut off"):
        asyncio.run(read_multipart(CONTENT_TYPE, leaves(), spool, declared_bytes=2**22))
    spool.close()
    assert _open_spool_files(spool) == 0
    free = spool.free_bytes
    assert free > 0 and spool._outstanding_bytes == 0


@pytest.mark.parametrize("filler", [b"\r\n", b"x"])
@pytest.mark.parametrize("start", [b"", FORM])
def test_what_is_no_file_does_not_go_on_for_ever(spool: Spool, start: bytes, filler: bytes) -> None:
    num_chunks = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal num_chunks
        if start:
            yield start
        while num_chunks < 1000:
            num_chunks += 1
            yield filler * 2**15

    with pytest.raises(UploadMalformed, match=r"beside its files|no multipart"):
        asyncio.run(read_multipart(CONTENT_TYPE, endless(), spool))
    assert num_chunks < 200
