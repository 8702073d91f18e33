"""Health, readiness, metrics, limits, the schema of a verdict, and pages about problems."""

from __future__ import annotations

import contextlib

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from deepfake_triton.contracts import DEFAULT_FRAMES, MAX_FRAMES
from deepfake_triton.errors import DeepfakeError, Unauthenticated
from deepfake_triton.gateway.dependencies import AnyCaller, caller_of, services_of
from deepfake_triton.gateway.http.answers import error_response, plain_page
from deepfake_triton.gateway.metrics import CONTENT_TYPE
from deepfake_triton.gateway.problems import known_problems, problem_of
from deepfake_triton.gateway.rest.openapi import problems, schema_answer, verdict_schema
from deepfake_triton.gateway.services import Services
from deepfake_triton.json_object import JsonObject
from deepfake_triton.preprocessing.video.sampling import Sampling

router = APIRouter()

_NOT_READY = "no video can be judged now; ask with an API key for the reason"
_OBJECT = {"description": "OK", "content": {"application/json": {"schema": {"type": "object"}}}}


@router.get(
    "/healthz", operation_id="healthz", summary="Whether the gateway itself runs", responses={200: _OBJECT}
)
async def healthz() -> Response:
    """Answer 200 while the process runs."""
    return JSONResponse({"status": "ok"})


@router.get(
    "/readyz",
    operation_id="readyz",
    summary="Whether a Triton answers and serves the model",
    responses={200: _OBJECT, **problems(502, 503)},
)
async def readyz(request: Request) -> Response:
    """Answer 200, or 503 with the reason; the servers' addresses in it are for those who show a key."""
    try:
        await services_of(request).readiness.check()
    except DeepfakeError as error:
        return error_response(request, error, detail=None if _is_known(request) else _NOT_READY)
    return JSONResponse({"status": "ready"})


@router.get(
    "/metrics",
    operation_id="metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"description": "OK", "content": {"text/plain": {}}}, **problems(401)},
)
async def metrics(request: Request, _caller: AnyCaller) -> Response:
    """Return them in Prometheus' text format."""
    return Response(services_of(request).metrics.text(), headers={"Content-Type": CONTENT_TYPE})


@router.get(
    "/v1/verdict.schema.json",
    operation_id="verdict_schema",
    summary="JSON Schema of a verdict",
    response_class=Response,
    responses={200: {"description": "OK", "content": {"application/schema+json": {}}}},
)
async def schema() -> Response:
    """Return the schema of `detect --json`."""
    return Response(verdict_schema(), media_type="application/schema+json")


@router.get(
    "/v1/limits",
    operation_id="limits",
    summary="What this gateway takes on",
    responses={**schema_answer(200, "Limits"), **problems(401)},
)
async def limits(request: Request, _caller: AnyCaller) -> Response:
    """Return the largest upload and duration, the selectable frames, and the model with its thresholds."""
    services = services_of(request)
    with contextlib.suppress(DeepfakeError):
        await services.readiness.check()
    return JSONResponse(_limits_object(services))


@router.get(
    "/problems/{name}",
    operation_id="describe_problem",
    summary="What a type of problem is about",
    response_class=Response,
    responses={
        200: {"description": "OK", "content": {"application/json": {}, "text/html": {}}},
        **problems(404),
    },
)
async def problem_page(request: Request, name: str) -> Response:
    """Describe a type of problem, as JSON, or as HTML for browsers."""
    if (kind := known_problems().get(name)) is None:
        raise HTTPException(404)
    problem = problem_of(kind())
    del problem["detail"]
    if "text/html" in request.headers.get("accept", ""):
        return plain_page(name, f"{problem['title']} HTTP status {problem['status']}.")
    return JSONResponse(problem)


def _is_known(request: Request) -> bool:
    try:
        caller_of(request)
    except Unauthenticated:
        return False
    return True


def _limits_object(services: Services) -> JsonObject:
    limits, model = services.settings.limits, services.client.known_model
    return {
        "max_upload_bytes": limits.max_upload_bytes,
        "max_duration_seconds": limits.max_duration_seconds,
        "frames": {"default": DEFAULT_FRAMES, "maximum": MAX_FRAMES},
        "windows": {"maximum": limits.max_windows},
        "sampling": [sampling.value for sampling in Sampling],
        "urls": bool(services.settings.url_hosts),
        "model": model.as_dict() if model else None,
        "operating_point": model.operating_point_name if model else None,
        "operating_points": [model.at(name).thresholds.as_dict() for name in model.operating_points]
        if model
        else [],
    }
