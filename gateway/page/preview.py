"""The small copy of a video that the player plays, whole or in ranges."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from io import FileIO
from typing import BinaryIO

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))")
_BLOCK_BYTES = 2**16


def preview_response(preview: BinaryIO, wanted: str | None) -> Response:
    """Return the bytes that a `Range` header asks for, all without one.

    The file may be closed meanwhile; the answer has a descriptor of its own.
    """
    size = os.fstat(preview.fileno()).st_size
    headers = {"Accept-Ranges": "bytes", "Content-Disposition": 'inline; filename="preview.mp4"'}
    found = _RANGE.fullmatch((wanted or "").strip())  # RFC 9110 lets a server ignore other forms
    part = _range(found, size) if found else (0, size)
    if part is None:
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{size}"})
    start, end = part
    headers["Content-Length"] = str(end - start)
    status = 200
    if found:
        status, headers["Content-Range"] = 206, f"bytes {start}-{end - 1}/{size}"
    own = os.fdopen(os.dup(preview.fileno()), "rb", buffering=0)
    return _PartResponse(own, start, end, status=status, headers=headers)


class _PartResponse(StreamingResponse):
    """A part of a file of its own, which it closes however it ends: also when no byte of it was sent."""

    def __init__(
        self, file: FileIO, start: int, end: int, *, status: int, headers: Mapping[str, str]
    ) -> None:
        self._file = file
        super().__init__(_blocks(file.fileno(), start, end), status, headers, media_type="video/mp4")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        with self._file:
            await super().__call__(scope, receive, send)


def _range(found: re.Match[str], size: int) -> tuple[int, int] | None:
    """Return start and end (excluded) of a range; None where nothing lies in it."""
    if found[3]:
        start, end = max(0, size - int(found[3])), size
    else:
        start, end = int(found[1]), min(size, int(found[2]) + 1) if found[2] else size
    return (start, end) if start < end else None


def _blocks(descriptor: int, start: int, end: int) -> Iterator[bytes]:
    while start < end:
        block = os.pread(descriptor, min(_BLOCK_BYTES, end - start), start)
        if not block:
            return
        start += len(block)
        yield block
