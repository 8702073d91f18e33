"""Problem answers (application/problem+json) of every error, the framework's included."""

from __future__ import annotations

import asyncio
import html
import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Match, Route
from starlette.types import Scope

from deepfake_triton.errors import DeepfakeError, InvalidOption
from deepfake_triton.gateway.dependencies import services_of
from deepfake_triton.gateway.problems import MEDIA_TYPE, headers_of, problem_of, status_problem
from deepfake_triton.gateway.unexpected import log_unexpected
from deepfake_triton.json_object import JsonObject

CLIENT_LEFT = 499
"""Status for the log, as nginx writes it: nobody reads the answer."""


def template_of(scope: Scope) -> str:
    """Return the template of the route that a request has found, such as /v1/jobs/{job_id}; `-`: none."""
    template: str = getattr(scope.get("route"), "path", "-")
    return template


def plain_page(title: str, text: str, status: int = HTTPStatus.OK) -> Response:
    """Return a page of a heading and a paragraph, for browsers."""
    title, text = html.escape(title), html.escape(text)
    return HTMLResponse(
        f'<!doctype html><html lang="en"><title>{title}</title><h1>{title}</h1><p>{text}</p></html>', status
    )


def problem_response(problem: JsonObject, headers: dict[str, str] | None = None) -> Response:
    """Return an answer with this problem object."""
    return Response(json.dumps(problem), problem["status"], headers, MEDIA_TYPE)


async def json_response(
    make: Callable[[], JsonObject], status: int = HTTPStatus.OK, headers: dict[str, str] | None = None
) -> Response:
    """Return an answer with what `make` returns. It runs beside the event loop: a verdict may be large."""
    return await asyncio.to_thread(lambda: JSONResponse(make(), status, headers))


def error_response(request: Request, error: DeepfakeError, *, detail: str | None = None) -> Response:
    """Return the answer to a request that ended with a typed error, with its own text or `detail`, and count
    it."""
    services = services_of(request)
    services.metrics.refused(type(error).__name__)
    problem = problem_of(error)
    if detail is not None:
        problem["detail"] = detail
    return problem_response(problem, headers_of(services, error))


def add_problem_handlers(app: FastAPI) -> None:
    """Let every error of the application end in a problem object."""
    app.add_exception_handler(DeepfakeError, _typed)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _left)
    app.add_exception_handler(Exception, _unexpected)


async def _typed(request: Request, error: Exception) -> Response:
    assert isinstance(error, DeepfakeError)
    return error_response(request, error)


async def _invalid(request: Request, error: Exception) -> Response:
    """Name each parameter that is wrong, without repeating what a stranger sent."""
    assert isinstance(error, RequestValidationError)
    wrong = dict.fromkeys(_fault(found) for found in error.errors())
    return error_response(request, InvalidOption("; ".join(wrong)))


def _fault(found: Mapping[str, Any]) -> str:
    if found["type"] == "extra_forbidden":  # its name is the stranger's
        return f"{found['loc'][0]}: an unknown parameter; /openapi.json has those that there are"
    name = ".".join(str(part) for part in found["loc"][1:]) or found["loc"][0]
    return f"{name}: {found['msg']}"


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    headers = dict(error.headers or {})
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_methods_of(request))
    told = error.detail if error.detail != status.phrase else status.description
    problem = status_problem(status, told or status.phrase)
    if status is HTTPStatus.NOT_FOUND and "text/html" in request.headers.get("accept", ""):
        return plain_page(problem["title"], "There is no such page.", status)
    return problem_response(problem, headers)


def _methods_of(request: Request) -> list[str]:
    """Return the methods of all routes with this path; the framework names those of the first one."""
    methods: set[str] = set()
    for route in request.app.state.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is Match.PARTIAL:
            methods |= route.methods or set()
    if "GET" in methods:
        methods.add("HEAD")
    return sorted(methods)


async def _left(_request: Request, _error: Exception) -> Response:
    return Response(status_code=CLIENT_LEFT)


async def _unexpected(request: Request, error: Exception) -> Response:
    log_unexpected(error, f"{request.method} {template_of(request.scope)}, {request.scope.get('request_id')}")
    detail = "an error of the gateway itself; its log tells more"
    return problem_response(status_problem(HTTPStatus.INTERNAL_SERVER_ERROR, detail))
