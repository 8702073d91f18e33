"""Bodies of HTTP requests as they come: bounded in time, and with the size that they declare."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect, Request

from deepfake_triton.errors import UploadMalformed
from deepfake_triton.gateway.uploads.upload_pace import in_time

_WRAPPING_BYTES = 2**16
"""What boundaries, headers and small fields of a form take, beside its files."""


def declared_bytes_of(request: Request) -> int | None:
    """Return the size that a request declares for its file; None for a chunked body.

    Of a form's declared size, what may wrap its files is left out: they are counted as they come.
    """
    text = request.headers.get("content-length", "")
    if not (text.isascii() and text.isdigit()):
        return None
    is_form = request.headers.get("content-type", "").lower().startswith("multipart/")
    return max(0, int(text) - _WRAPPING_BYTES) if is_form else int(text)


def address_of(request: Request) -> str | None:
    """Return the address from which a request comes; behind a proxy, the proxy's."""
    return request.client.host if request.client else None


async def chunks_of(request: Request) -> AsyncIterator[bytes]:
    """Yield the body as it comes. Raises UploadMalformed if it is cut off, or too slow to ever end."""
    try:
        async for chunk in in_time(request.stream(), lambda reason: UploadMalformed(f"body: {reason}")):
            yield chunk
    except ClientDisconnect as error:
        raise UploadMalformed("body: cut off; send it again") from error
