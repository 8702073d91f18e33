"""Multipart bodies: files go to the spool as they come, fields stay small."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from deepfake_triton.errors import UploadMalformed
from deepfake_triton.gateway.uploads.names import name_in, utf8_of
from deepfake_triton.gateway.uploads.spool import Room, Spool, SpoolWriter, Upload

MAX_FILES = 20
MAX_FIELDS = 32
MAX_FIELD_BYTES = 2**16

_MAX_BYTES_BESIDE_FILES = MAX_FIELDS * MAX_FIELD_BYTES + 2**20
_SLICE_BYTES = 2**16
_FILE_PART = "file"
_FILE_PARTS = "the part `file`, or one with a file name, holds the video"


@dataclass(frozen=True)
class MultipartBody:
    """What a form held.

    Attributes:
        uploads: Its files, in their order; whoever holds them closes them.
        fields: Its other fields by name.
    """

    uploads: tuple[Upload, ...]
    fields: Mapping[str, str] = field(repr=False)


async def read_multipart(
    content_type: str,
    body: AsyncIterator[bytes],
    spool: Spool,
    *,
    declared_bytes: int | None = None,
    require_field: Callable[[str], None] = lambda _: None,
) -> MultipartBody:
    """Receive a `multipart/form-data` body, whose files together are within the limit of one upload.

    `require_field` may refuse a field by its name, before the rest is received: what it raises is raised.

    Raises:
        UploadMalformed: It is no such body, is cut off, or holds no file or too many parts.
        UploadTooLarge, SpoolFull: Its files do not fit.
    """
    parts = _Parts(content_type)
    reserved = None if declared_bytes is None else min(declared_bytes, spool.limits.max_upload_bytes)
    num_bytes = 0
    async with spool.reserve(reserved) as room:
        form = _Form(room, require_field)
        try:
            async for chunk in body:
                num_bytes += len(chunk)
                for start in range(0, len(chunk), _SLICE_BYTES):
                    for step in parts.parse(chunk[start : start + _SLICE_BYTES]):
                        await form.take(step)
                    # A body full of near-boundaries is parsed at 4 MB/s: others get their turn.
                    await asyncio.sleep(0)
                if num_bytes - room.taken_bytes > _MAX_BYTES_BESIDE_FILES:  # behind its end, for example
                    raise UploadMalformed(
                        f"form: more than {_MAX_BYTES_BESIDE_FILES} bytes beside its files; send those alone"
                    )
            parts.require_end()
            return form.whole()
        except BaseException:
            form.abort()
            raise


@dataclass(frozen=True)
class _Head:
    """Begin of a part: its name, and that of its file if it is one."""

    name: str
    file_name: str | None


class _End:
    """End of a part."""


_Step = _Head | bytes | _End


class _Parts:
    """A body cut into parts; it holds no more of them than it was given at once."""

    def __init__(self, content_type: str) -> None:
        boundary = _boundary_of(content_type)
        self._first_line = b"\n--" + boundary
        self._preamble: bytes | None = b"\n"
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_begin": self._begin_header,
                "on_header_field": self._add_field,
                "on_header_value": self._add_value,
                "on_headers_finished": self._finish_headers,
                "on_part_data": self._add_data,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )
        self._steps: list[_Step] = []
        self._num_parts = 0
        self._has_ended = False
        self._field, self._value, self._disposition = bytearray(), bytearray(), b""

    def parse(self, chunk: bytes) -> list[_Step]:
        """Return what a further chunk brings. Raises UploadMalformed."""
        self._steps = []
        try:
            self._parser.write(self._without_preamble(chunk))
        except FormParserError as error:
            raise UploadMalformed(f"form: no multipart/form-data ({error}); send it again") from error
        return self._steps

    def _without_preamble(self, chunk: bytes) -> bytes:
        """Return what a chunk holds from the first boundary on; RFC 2046 allows any text before it."""
        if self._preamble is None:
            return chunk
        before, found, rest = (self._preamble + chunk).partition(self._first_line)
        if not found:
            self._preamble = before[-len(self._first_line) :]
            return b""
        self._preamble = None
        return self._first_line[1:] + rest

    def require_end(self) -> None:
        """Raise UploadMalformed if the first or the last boundary is missing."""
        if self._preamble not in {None, b"\n"}:
            raise UploadMalformed("form: no multipart/form-data (no boundary in it); send it again")
        if not self._has_ended:
            raise UploadMalformed("form: cut off before its last boundary; send it again")

    def _begin(self) -> None:
        self._num_parts += 1
        if self._num_parts > MAX_FILES + MAX_FIELDS:
            raise UploadMalformed(f"form: more than {MAX_FILES + MAX_FIELDS} parts; send fewer")
        self._disposition = b""
        self._begin_header()

    def _begin_header(self) -> None:
        self._keep_header()
        self._field.clear()
        self._value.clear()

    def _add_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _keep_header(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = bytes(self._value)

    def _finish_headers(self) -> None:
        self._begin_header()
        self._steps.append(_head_of(self._disposition))

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        self._steps.append(data[start:end])

    def _end_part(self) -> None:
        self._steps.append(_End())

    def _end(self) -> None:
        self._has_ended = True


class _Form:
    """Files and fields of one body, as far as they have come."""

    def __init__(self, room: Room, require_field: Callable[[str], None]) -> None:
        self._room, self._require_field = room, require_field
        self._uploads: list[Upload] = []
        self._fields: dict[str, str] = {}
        self._head = _Head("", None)
        self._writer: SpoolWriter | None = None
        self._text = bytearray()

    async def take(self, step: _Step) -> None:
        """Take up what the parser found. Raises UploadMalformed, UploadTooLarge or SpoolFull."""
        if isinstance(step, _Head):
            self._open(step)
        elif isinstance(step, bytes):
            await self._add(step)
        else:
            await self._finish()

    def whole(self) -> MultipartBody:
        """Return the whole form. Raises UploadMalformed if there is no file in it."""
        if not self._uploads:
            raise UploadMalformed("form: no file in it; send the video as a part with a file name")
        return MultipartBody(tuple(self._uploads), self._fields)

    def abort(self) -> None:
        """Close all of its files."""
        if self._writer:
            self._writer.abort()
        for upload in self._uploads:
            upload.close()

    def _open(self, head: _Head) -> None:
        self._head = head
        self._text.clear()
        if head.file_name is None:
            self._require_field(head.name)
            if len(self._fields) == MAX_FIELDS:
                raise UploadMalformed(f"form: more than {MAX_FIELDS} fields; send fewer")
        elif len(self._uploads) == MAX_FILES:
            raise UploadMalformed(f"form: more than {MAX_FILES} files; send fewer at once")
        else:
            self._writer = self._room.open_file()

    async def _add(self, data: bytes) -> None:
        if self._writer:
            await self._writer.write(data)
            return
        self._text += data
        if len(self._text) > MAX_FIELD_BYTES:
            raise UploadMalformed(f"form: a field has more than {MAX_FIELD_BYTES} bytes; {_FILE_PARTS}")

    async def _finish(self) -> None:
        if self._writer is None:
            self._fields.setdefault(self._head.name, _text_of(bytes(self._text)))
            return
        writer, name = self._writer, self._head.file_name or ""
        if name or writer.size_bytes:
            self._uploads.append(await writer.finish(name))
        else:  # what a browser sends for a choice of files that was left empty
            writer.abort()
        self._writer = None


def _boundary_of(content_type: str) -> bytes:
    try:
        kind, options = parse_options_header(content_type)
    except ValueError as error:
        raise UploadMalformed("Content-Type: not readable; expected multipart/form-data") from error
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 1 <= len(boundary) <= 200:
        raise UploadMalformed("Content-Type: expected multipart/form-data with a boundary")
    return boundary


def _head_of(disposition: bytes) -> _Head:
    """Return the names in a part's Content-Disposition, as browsers and curl write them."""
    kind, options = parse_options_header(disposition)
    if kind != b"form-data" or b"name" not in options:
        raise UploadMalformed('form: a part without "Content-Disposition: form-data; name=…"; name each part')
    name, file_name = utf8_of(options[b"name"].decode("latin-1")), name_in(disposition.decode("latin-1"))
    return _Head(name, "" if file_name is None and name == _FILE_PART else file_name)


def _text_of(field: bytes) -> str:
    try:
        return field.decode()
    except UnicodeDecodeError as error:
        raise UploadMalformed(f"form: a field is no UTF-8 text; {_FILE_PARTS}") from error
