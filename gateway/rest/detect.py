"""POST /v1/detect: a video in, its verdict out, at once or as a job."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError
from starlette.requests import Request
from starlette.responses import Response

from deepfake_triton.client.wire.tracing import is_traceparent
from deepfake_triton.contracts import DEFAULT_FRAMES, MAX_FRAMES
from deepfake_triton.errors import InvalidOption, JobNotReady, UrlRefused
from deepfake_triton.gateway.access.callers import Caller
from deepfake_triton.gateway.admission import admission
from deepfake_triton.gateway.dependencies import AnyCaller, services_of
from deepfake_triton.gateway.http.answers import CLIENT_LEFT, json_response
from deepfake_triton.gateway.jobs.job import Job, JobRequest
from deepfake_triton.gateway.rest.bodies import ends_before_disconnect, receive_body, require_body_type
from deepfake_triton.gateway.rest.job_object import job_response
from deepfake_triton.gateway.rest.openapi import job_links, problems, schema_answer
from deepfake_triton.gateway.services import Services
from deepfake_triton.gateway.settings import Webhooks
from deepfake_triton.gateway.uploads.allowed_hosts import AllowedHosts
from deepfake_triton.gateway.uploads.body import address_of, declared_bytes_of
from deepfake_triton.gateway.uploads.one_file_form import FORM_TYPE
from deepfake_triton.preprocessing.video.sampling import FrameSelection, Sampling

router = APIRouter()

_BINARY = {"schema": {"type": "string", "format": "binary", "minLength": 1}}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A video or a photo: as it is, or as the part `file` of a form.",
        "content": {
            "application/octet-stream": _BINARY,
            "video/*": _BINARY,
            "image/*": _BINARY,
            FORM_TYPE: {
                "schema": {
                    "type": "object",
                    "properties": {
                        "file": _BINARY["schema"],
                        "preview": {
                            "enum": ["0", "1"],
                            "description": "1: keep a small H.264 copy for the page's player.",
                        },
                    },
                    "required": ["file"],
                    "additionalProperties": False,
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {"url": {"type": "string", "format": "uri", "pattern": "^https://"}},
                    "required": ["url"],
                    "additionalProperties": False,
                }
            },
        },
    }
}


_QUOTED = re.compile(r'"(?:\\.?|[^"\\])*(?:"|$)')
_ACCEPTED = schema_answer(202, "Job", "A job, with `Prefer: respond-async`; its address is in `Location`.")


def _digits(text: Any) -> Any:
    """Refuse what Python reads as a number and other languages do not, such as 1_0 and +5."""
    if isinstance(text, str) and not re.fullmatch(r"-?[0-9]{1,100}", text):
        raise PydanticCustomError("int_parsing", "Input should be a valid integer")
    return text


_Count = Annotated[int, Field(ge=1), BeforeValidator(_digits)]


class DetectQuery(BaseModel):
    """What changes the judgement, as the options of `deepfake-triton detect` do."""

    model_config = ConfigDict(extra="forbid")

    frames: _Count = Field(DEFAULT_FRAMES, ge=1, le=MAX_FRAMES, description="Frames of each window.")
    windows: _Count | None = Field(
        None, description="Windows, spread over the whole video; default: one, at its start."
    )
    sampling: Sampling = Field(
        Sampling.CONSECUTIVE,
        description="`uniform`: single frames spread over the video; not with `windows`.",
    )
    operating_point: str | None = Field(None, max_length=200, description="Name of the thresholds.")

    def selection(self) -> FrameSelection:
        """Return the frames to judge. Raises InvalidFrames."""
        return FrameSelection(self.frames, self.sampling, self.windows)


@router.post(
    "/v1/detect",
    summary="Judge a video",
    operation_id="detect",
    openapi_extra=_BODY,
    responses={
        **schema_answer(200, "Verdict", "The verdict: the object of `detect --json`."),
        202: {**_ACCEPTED[202], "links": job_links()},
        **problems(400, 401, 403, 409, 413, 415, 422, 429, 502, 503, 504, 507),
    },
)
async def detect(  # noqa: PLR0917 - FastAPI passes them by name
    request: Request,
    caller: AnyCaller,
    query: Annotated[DetectQuery, Query()],
    _prefer: Annotated[
        str | None,
        Header(alias="prefer", description="`respond-async`: answer with a job.", examples=["respond-async"]),
    ] = None,
    idempotency_key: Annotated[
        str | None,
        Header(description="Your own name of this request: a repetition gets the same job.", max_length=255),
    ] = None,
    webhook_url: Annotated[str | None, Header(description="Where the end of the job is announced.")] = None,
    traceparent: Annotated[
        str | None, Header(description="W3C Trace Context, which the server's spans continue.")
    ] = None,
) -> Response:
    """Judge a video or a photo, sent as the body itself or as a form's part `file`.

    Whoever waits for the answer and leaves cancels the job.
    """
    services = services_of(request)
    _require_each_once(request)
    require_body_type(request, services)
    _require_operating_point(services, query.operating_point)
    services.settings.limits.require_windows(query.windows)
    wanted = JobRequest(
        selection=query.selection(),
        operating_point=query.operating_point,
        webhook_url=_require_webhook(services.settings.webhooks, webhook_url),
        owner=caller.name,
        idempotency_key=idempotency_key or None,
        traceparent=traceparent if traceparent and is_traceparent(traceparent) else None,
    )
    job = await _submit(request, services, caller, wanted=wanted)
    if wants_job(request.headers.getlist("prefer")):
        job.is_detached = True
        headers = {"Location": f"/v1/jobs/{job.id}", "Preference-Applied": "respond-async"}
        return await job_response(job, 202, headers)
    return await _wait(request, services, job)


async def _submit(request: Request, services: Services, caller: Caller, *, wanted: JobRequest) -> Job:
    """Admit the request, receive its body, and hand it to the queue."""
    with admission(
        services,
        caller,
        declared_bytes_of(request),
        address=address_of(request),
        idempotency_key=wanted.idempotency_key,
    ):
        received = await receive_body(request, services)
        return services.jobs.submit(received.upload, replace(wanted, wants_preview=received.wants_preview))


async def _wait(request: Request, services: Services, job: Job) -> Response:
    """Wait for the end of a job, or of the connection, which cancels it."""
    with services.jobs.waiting(job):
        if not await ends_before_disconnect(request, asyncio.ensure_future(job.ended())):
            return Response(status_code=CLIENT_LEFT)
    return await _answer(job)


async def _answer(job: Job) -> Response:
    if job.error is not None:
        raise job.error
    if job.verdict is None:
        raise JobNotReady("job: canceled before its verdict; send the video again")
    return await json_response(job.verdict.as_dict)


def wants_job(prefer: Sequence[str]) -> bool:
    """Return whether the lines of the header `Prefer` ask for `respond-async`.

    RFC 7240: commas separate preferences, on one line or several; each has a name, perhaps a value, of which
    an empty one is none, and behind semicolons parameters.
    """
    text = _QUOTED.sub(lambda quoted: "" if quoted[0] == '""' else "-", ",".join(prefer))
    preferences = (part.partition(";")[0].partition("=") for part in text.split(","))
    return any(
        (name.strip().lower(), value.strip()) == ("respond-async", "") for name, _, value in preferences
    )


def _require_each_once(request: Request) -> None:
    """Raise InvalidOption for a parameter that is given twice: which of both would count is a guess."""
    names = [name for name, _ in request.query_params.multi_items()]
    if len(set(names)) < len(names):
        raise InvalidOption("query: a parameter is given twice; give each once")


def _require_operating_point(services: Services, name: str | None) -> None:
    """Raise InvalidOption for an unknown one, as far as the model is known before the body is read."""
    if name is not None and (model := services.client.known_model) is not None:
        model.at(name)


def _require_webhook(webhooks: Webhooks | None, url: str | None) -> str | None:
    """Return the address to which a caller wants the end announced. Raises UrlRefused."""
    if url is None:
        return None
    if webhooks is None:
        raise UrlRefused("Webhook-URL: this gateway sends no webhooks; leave it out")
    AllowedHosts(webhooks.allowed_hosts).require(url)
    return url
