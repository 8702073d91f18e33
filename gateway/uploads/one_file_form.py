"""A form with one file, as REST and the page take it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from starlette.requests import Request

from deepfake_triton.errors import UploadMalformed
from deepfake_triton.gateway.uploads.body import chunks_of, declared_bytes_of
from deepfake_triton.gateway.uploads.multipart import read_multipart
from deepfake_triton.gateway.uploads.spool import Spool, Upload

FORM_TYPE = "multipart/form-data"


@dataclass(frozen=True)
class OneFileForm:
    """What such a form held.

    Attributes:
        upload: The file; whoever holds it closes it.
        fields: The other fields by name.
    """

    upload: Upload
    fields: Mapping[str, str] = field(repr=False)


def media_type_of(request: Request) -> str:
    """Return the type of a request's body in lower case, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def receive_one_file(
    request: Request, spool: Spool, *, require_field: Callable[[str], None] = lambda _: None
) -> OneFileForm:
    """Receive a form into the spool; `require_field` may refuse a field by its name as soon as it comes.

    Raises:
        UploadMalformed: It is no form, is cut off, or does not hold exactly one file.
        UploadTooLarge, SpoolFull: The file does not fit.
    """
    if media_type_of(request) != FORM_TYPE:
        raise UploadMalformed(f"form: got another type, expected {FORM_TYPE}")
    body = await read_multipart(
        request.headers["content-type"],
        chunks_of(request),
        spool,
        declared_bytes=declared_bytes_of(request),
        require_field=require_field,
    )
    if len(body.uploads) != 1:
        for upload in body.uploads:
            upload.close()
        raise UploadMalformed(f"form: got {len(body.uploads)} files, expected one part `file`")
    return OneFileForm(body.uploads[0], body.fields)
