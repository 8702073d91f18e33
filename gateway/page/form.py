"""Forms: one file and its settings, the way without JavaScript; a key; a button."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from urllib.parse import parse_qs

from starlette.requests import Request

from deepfake_triton.errors import DeepfakeError, InvalidFrames, UploadMalformed
from deepfake_triton.gateway.access.callers import Caller
from deepfake_triton.gateway.admission import admission
from deepfake_triton.gateway.jobs.job import Job, JobRequest
from deepfake_triton.gateway.services import Services
from deepfake_triton.gateway.settings import DEFAULT_WINDOWS, Limits
from deepfake_triton.gateway.time_limit import within
from deepfake_triton.gateway.uploads.body import address_of, chunks_of, declared_bytes_of
from deepfake_triton.gateway.uploads.one_file_form import receive_one_file
from deepfake_triton.preprocessing.video.sampling import FrameSelection

_MAX_DIGITS = 10
_MAX_SHORT_BYTES = 4096
_SHORT_TIMEOUT_S = 10.0
"""Most seconds for a form of a few fields, which anyone may send, without a key."""


async def read_short_form(request: Request) -> dict[str, str]:
    """Read an urlencoded form of a few fields. Raises UploadMalformed for a long, slow or cut one."""
    try:
        body = await within(_short_body(request), _SHORT_TIMEOUT_S)
    except asyncio.TimeoutError as error:
        raise UploadMalformed(
            f"form: not whole after {_SHORT_TIMEOUT_S:g} s; send a few fields at once"
        ) from error
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=10)
    except ValueError as error:
        raise UploadMalformed("form: got more than 10 fields") from error
    return {name: values[-1] for name, values in fields.items()}


async def _short_body(request: Request) -> bytes:
    body, until = bytearray(), time.monotonic() + _SHORT_TIMEOUT_S
    async for chunk in chunks_of(request):
        body += chunk
        if time.monotonic() > until:  # before Python 3.12, a chunk at the wrong moment hides the cancellation
            raise asyncio.TimeoutError
        if len(body) > _MAX_SHORT_BYTES:
            raise UploadMalformed(f"form: got over {_MAX_SHORT_BYTES} bytes; expected a few fields")
    return bytes(body)


async def receive_form(request: Request, services: Services, caller: Caller) -> Job:
    """Receive the form's file and settings, and return its job.

    Raises:
        GatewayError: It may not be sent, holds no file, or does not fit.
        InvalidFrames: The number of windows is out of range.
        InvalidOption: The operating point is not known.
    """
    with admission(services, caller, declared_bytes_of(request), address=address_of(request)):
        form = await receive_one_file(request, services.spool)
        try:
            services.access.sessions.require_csrf(request, form.fields.get("csrf"))
            if not form.upload.size_bytes:
                raise UploadMalformed("form: the file is empty; choose one")
            wanted = _request(form.fields, services, caller)
        except DeepfakeError:
            form.upload.close()
            raise
        job = services.jobs.submit(form.upload, wanted)
    job.is_detached = True
    return job


def _request(fields: Mapping[str, str], services: Services, caller: Caller) -> JobRequest:
    windows = _windows(fields.get("windows", "").strip(), services.settings.limits)
    point = fields.get("operating_point") or None
    if point is not None and (model := services.client.known_model) is not None:
        model.at(point)
    return JobRequest(
        selection=FrameSelection(windows=windows),
        operating_point=point,
        wants_preview=True,
        owner=caller.name,
    )


def _windows(text: str, limits: Limits) -> int:
    """Return the number of windows. Raises InvalidFrames."""
    digits = text.lstrip("0") if text else str(DEFAULT_WINDOWS)
    if not (digits.isascii() and digits.isdigit() and len(digits) < _MAX_DIGITS):
        raise InvalidFrames(f"windows: expected a number in 1…{limits.max_windows}")
    limits.require_windows(int(digits))
    return int(digits)
