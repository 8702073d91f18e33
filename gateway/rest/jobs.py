"""/v1/jobs: the state of a job, its events, and its end."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header
from starlette.requests import Request
from starlette.responses import Response

from deepfake_triton.gateway.dependencies import OwnJob, services_of
from deepfake_triton.gateway.rest.job_object import job_response
from deepfake_triton.gateway.rest.openapi import problems, schema_answer
from deepfake_triton.gateway.rest.sse import event_stream

router = APIRouter(prefix="/v1/jobs")

_STREAM = {
    "description": "Server-sent events: `queued`, `decoded`, `window`; the last is `verdict`, `failed` or "
    "`canceled`. `problem` in the data of `failed`, and of `canceled` where the gateway stops, is a Problem.",
    # As FastAPI and OpenAPI 3.2 describe the events of a stream.
    "content": {
        "text/event-stream": {
            "itemSchema": {
                "type": "object",
                "properties": {
                    "id": {"type": "string", "description": "Number of the event, from 1."},
                    "event": {"enum": ["queued", "decoded", "window", "verdict", "failed", "canceled"]},
                    "data": {"type": "string", "contentMediaType": "application/json"},
                },
                "required": ["id", "event", "data"],
            }
        }
    },
}


@router.get(
    "/{job_id}",
    operation_id="read_job",
    summary="State of a job",
    responses={**schema_answer(200, "Job"), **problems(401, 404)},
)
async def read_job(job: OwnJob) -> Response:
    """Return its state, and its verdict or error once it has ended."""
    return await job_response(job)


@router.get(
    "/{job_id}/events",
    operation_id="follow_job",
    summary="Events of a job",
    response_class=Response,
    responses={200: _STREAM, **problems(401, 404, 503)},
)
async def follow_job(
    job: OwnJob,
    last_event_id: Annotated[str | None, Header(description="Number of the last event seen.")] = None,
) -> Response:
    """Stream what happens, from the start or after `Last-Event-ID`, up to the end of the job."""
    return event_stream(job, last_event_id)


@router.delete(
    "/{job_id}",
    operation_id="cancel_job",
    summary="Cancel a job, or forget one that has ended",
    status_code=204,
    response_class=Response,
    responses={204: {"description": "It asks nothing further, or is gone."}, **problems(401, 403, 404)},
)
async def cancel_job(request: Request, job: OwnJob) -> Response:
    """Stop decoding and all windows that are not yet asked; drop the verdict of a job that has ended."""
    services = services_of(request)
    if job.state.is_final:
        services.jobs.forget(job)
    else:
        services.jobs.cancel(job)
    return Response(status_code=204)
