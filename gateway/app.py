"""The ASGI application: REST and the page, with one rule for errors, sites and headers."""

from __future__ import annotations

from functools import lru_cache

from fastapi import FastAPI
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from deepfake_triton import __version__
from deepfake_triton.gateway.access.sites import Sites
from deepfake_triton.gateway.http.answers import add_problem_handlers
from deepfake_triton.gateway.http.guard import Guard
from deepfake_triton.gateway.page.routes import router as page_router
from deepfake_triton.gateway.rest import detect, jobs, service_info
from deepfake_triton.gateway.rest.openapi import openapi_of
from deepfake_triton.gateway.services import Services
from deepfake_triton.json_object import JsonObject


def create_app(services: Services) -> ASGIApp:
    """Return the application that answers with these parts."""
    app = FastAPI(
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
        # Newer versions make spans, whose paths would have the ids of jobs, which let anyone follow a job.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.services = services
    described: list[BaseRoute] = []
    for router in (detect.router, jobs.router, service_info.router):
        app.include_router(router)
        described += router.routes
    app.include_router(page_router)
    app.state.routes = (*described, *page_router.routes)
    add_problem_handlers(app)

    @lru_cache(maxsize=2)
    def describe_with(operating_points: tuple[str, ...]) -> JsonObject:
        return openapi_of(
            described,
            __version__,
            has_keys=services.access.has_keys,
            max_windows=services.settings.limits.max_windows,
            operating_points=operating_points,
        )

    def describe() -> JsonObject:
        model = services.client.known_model
        return describe_with(tuple(model.operating_points) if model else ())

    app.openapi = describe  # type: ignore[method-assign]
    app.add_api_route("/v1/openapi.json", describe, include_in_schema=False)
    return Guard(app, sites=Sites(services.settings))
