"""FastAPI dependencies: the caller of a request, the parts of the gateway, the caller's job."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from deepfake_triton.gateway.access.callers import Caller
from deepfake_triton.gateway.jobs.job import Job
from deepfake_triton.gateway.services import Services


def services_of(request: Request) -> Services:
    """Return the parts of the gateway."""
    services: Services = request.app.state.services
    return services


def caller_of(request: Request) -> Caller:
    """Return who sends a request: by `Authorization: Bearer`, `X-API-Key`, or the page's session.

    Raises Unauthenticated.
    """
    access = services_of(request).access
    if (key := key_in(request)) is not None:
        return access.caller_by_key(key)
    return access.caller_by_session(request)


def key_in(request: Request) -> str | None:
    """Return the API key that a request's headers carry, if any."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    return request.headers.get("x-api-key")


AnyCaller = Annotated[Caller, Depends(caller_of)]


def job_of(request: Request, job_id: str, caller: AnyCaller) -> Job:
    """Return the caller's job. Raises JobNotFound."""
    return services_of(request).jobs.find(job_id, caller.name)


OwnJob = Annotated[Job, Depends(job_of)]
