"""Bodies of POST /v1/detect: multipart, raw, or the URL of a video."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from starlette.exceptions import HTTPException
from starlette.requests import Request

from deepfake_triton.errors import InvalidOption, UploadMalformed, UrlRefused
from deepfake_triton.gateway.services import Services
from deepfake_triton.gateway.uploads.body import chunks_of, declared_bytes_of
from deepfake_triton.gateway.uploads.names import name_in, utf8_of
from deepfake_triton.gateway.uploads.one_file_form import FORM_TYPE, media_type_of, receive_one_file
from deepfake_triton.gateway.uploads.spool import Upload

URL_TYPE = "application/json"
_ENCODED = (
    "Content-Encoding: expected none; send the file as it is, as application/octet-stream, video/*, image/* "
    f"or {FORM_TYPE}, or its URL as {URL_TYPE}"
)
_MAX_URL_BODY = 16 * 1024
_PREVIEW = "preview"
_TRUE, _FALSE = {"1", "true", "on", "yes"}, {"", "0", "false", "off", "no"}


@dataclass(frozen=True)
class Received:
    """What a body held.

    Attributes:
        upload: The video; whoever holds it closes it.
        wants_preview: Setting of the form: a small copy for the page's player is asked for.
    """

    upload: Upload
    wants_preview: bool = False


def require_body_type(request: Request, services: Services) -> None:
    """Refuse a body by its headers, before it is read.

    Raises:
        UrlRefused: It is a URL, and none may be fetched.
        HTTPException: 415, for one that is compressed.
    """
    encodings = ",".join(request.headers.getlist("content-encoding")).lower().split(",")
    if {encoding.strip() for encoding in encodings} - {"", "identity"}:
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, _ENCODED, {"Accept-Encoding": "identity"})
    if media_type_of(request) == URL_TYPE and not services.settings.url_hosts:
        raise UrlRefused(
            "application/json: videos are not fetched from URLs here; send the file itself, or start the "
            "gateway with --allow-url-hosts"
        )


async def receive_body(request: Request, services: Services) -> Received:
    """Receive the body of a request into the spool.

    Raises:
        UploadMalformed: No file in it, or it is cut off.
        UploadTooLarge, SpoolFull: It does not fit.
        UrlRefused, UrlUnavailable: The URL that it names.
        InvalidOption: A field that is not known.
    """
    media_type = media_type_of(request)
    if media_type == FORM_TYPE:
        return await _receive_form(request, services)
    if media_type == URL_TYPE:
        return Received(await _fetch(request, services))
    return Received(await _receive_raw(request, services))


async def ends_before_disconnect(request: Request, future: asyncio.Future[Any]) -> bool:
    """Wait for a future, and return True, or False where the sender of a request, whose body has been read,
    leaves earlier; the future is canceled then."""
    left = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait((future, left), return_when=asyncio.FIRST_COMPLETED)
        return future.done()
    finally:
        for task in (future, left):
            if not task.done():
                task.cancel()
                await asyncio.wait((task,))


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _receive_raw(request: Request, services: Services) -> Upload:
    async with services.spool.receive(declared_bytes_of(request)) as writer:
        async for chunk in chunks_of(request):
            await writer.write(chunk)
        return await writer.finish(name_of(request))


async def _receive_form(request: Request, services: Services) -> Received:
    form = await receive_one_file(request, services.spool, require_field=_require_known)
    try:
        return Received(form.upload, _preview_in(form.fields))
    except InvalidOption:
        form.upload.close()
        raise


def _require_known(name: str) -> None:
    if name != _PREVIEW:
        raise InvalidOption(
            "form: an unknown field; expected the part `file`, and `preview` if at all; options such as "
            "`windows` are query parameters: /v1/detect?windows=3"
        )


def _preview_in(fields: Mapping[str, str]) -> bool:
    text = fields.get(_PREVIEW, "").strip().lower()
    if text not in _TRUE | _FALSE:
        raise InvalidOption("form: preview: expected 1 or 0")
    return text in _TRUE


async def _fetch(request: Request, services: Services) -> Upload:
    from deepfake_triton.gateway.uploads.url_ingest import fetch

    content = bytearray()
    async for chunk in chunks_of(request):
        content += chunk
        if len(content) > _MAX_URL_BODY:
            raise UploadMalformed(f'application/json: over {_MAX_URL_BODY} bytes; expected {{"url": …}}')
    settings = services.settings
    url = _url_in(bytes(content))
    fetching = asyncio.ensure_future(
        fetch(url, hosts=settings.url_hosts, spool=services.spool, limits=settings.limits)
    )
    if not await ends_before_disconnect(request, fetching):
        raise UploadMalformed("application/json: whoever asked has left")
    return fetching.result()


def _url_in(content: bytes) -> str:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UploadMalformed('application/json: no JSON; expected {"url": "https://…"}') from error
    url = document.get("url") if isinstance(document, dict) else None
    if not isinstance(url, str) or len(document) != 1:
        raise UploadMalformed('application/json: expected {"url": "https://…"} and nothing else')
    return url


def name_of(request: Request) -> str:
    """Return the file's name that the headers of a raw body give: `Content-Disposition`, or `X-Filename`
    (percent-encoded UTF-8)."""
    name = name_in(request.headers.get("content-disposition", ""))
    return unquote(utf8_of(request.headers.get("x-filename", ""))) if name is None else name
