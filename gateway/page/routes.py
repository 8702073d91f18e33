"""The page: start, form, key, static files."""

from __future__ import annotations

import contextlib
from http import HTTPStatus

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from deepfake_triton.contracts import DEFAULT_FRAMES
from deepfake_triton.errors import DeepfakeError, Unauthenticated
from deepfake_triton.gateway.dependencies import AnyCaller, services_of
from deepfake_triton.gateway.page import results
from deepfake_triton.gateway.page.form import read_short_form, receive_form
from deepfake_triton.gateway.page.page_route import PageRoute, login_page, own_path
from deepfake_triton.gateway.page.rendering import (
    cost_of,
    render,
    texts_of,
)
from deepfake_triton.gateway.page.static_files import static_file
from deepfake_triton.gateway.services import Services
from deepfake_triton.gateway.settings import DEFAULT_WINDOWS
from deepfake_triton.gateway.words.sentences import model_limits
from deepfake_triton.operating_point import OperatingPoint

router = APIRouter(route_class=PageRoute, include_in_schema=False)
router.include_router(results.router)


@router.get("/")
async def start(request: Request, _caller: AnyCaller) -> Response:
    """Return the start page."""
    services = services_of(request)
    with contextlib.suppress(DeepfakeError):  # the thresholds of the model, once a server has answered
        await services.readiness.check()
    model, texts = services.client.known_model, texts_of(request)
    return render(
        request,
        "start.html",
        limits_of_model=model_limits(model, texts) if model else (),
        limits=services.settings.limits,
        default_windows=DEFAULT_WINDOWS,
        max_windows=services.settings.limits.max_windows,
        frames=DEFAULT_FRAMES,
        points=_points(services),
        seconds_per_window=services.jobs.seconds_per_window,
        cost=cost_of(services, texts, DEFAULT_WINDOWS),
    )


@router.post("/")
async def send_form(request: Request, caller: AnyCaller) -> Response:
    """Take the form in as a job, and lead to its page: the way without JavaScript."""
    job = await receive_form(request, services_of(request), caller)
    return RedirectResponse(f"/jobs/{job.id}", HTTPStatus.SEE_OTHER)


@router.post("/session")
async def open_session(request: Request) -> Response:
    """Exchange a key for a session, and lead to the page that was asked for before."""
    services = services_of(request)
    fields = await read_short_form(request)
    asked = fields.get("next", "/")
    try:
        caller = services.access.caller_by_key(fields.get("key", "").strip())
    except Unauthenticated:
        services.metrics.refused(Unauthenticated.__name__)
        return login_page(request, is_wrong=True, asked=asked)
    answer = RedirectResponse(own_path(asked), HTTPStatus.SEE_OTHER)
    if caller.key:
        services.access.sessions.set_cookie(answer, services.access.sessions.open(caller.key))
    return answer


@router.post("/session/end")
async def end_session(request: Request) -> Response:
    """Forget the key in this browser."""
    sessions = services_of(request).access.sessions
    sessions.require_csrf(request, (await read_short_form(request)).get("csrf"))
    answer = RedirectResponse("/", HTTPStatus.SEE_OTHER)
    sessions.delete_cookie(answer)
    return answer


@router.get("/static/{name}")
async def static(request: Request, name: str) -> Response:
    """Return a style sheet, a script or the icon."""
    return static_file(request, name)


@router.get("/favicon.ico")
async def icon(request: Request) -> Response:
    """Return the icon, for browsers that ask without being told."""
    return static_file(request, "icon.svg")


def _points(services: Services) -> list[OperatingPoint]:
    """Return the operating points of the model, the one in use first; none before a server has answered."""
    model = services.client.known_model
    if model is None:
        return []
    names = sorted(model.operating_points, key=lambda name: (name != model.operating_point_name, name))
    return [model.at(name).thresholds for name in names]
