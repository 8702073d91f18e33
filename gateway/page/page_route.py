"""Routes that answer with pages: typed errors become pages too, and a missing key asks for one."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from deepfake_triton.errors import DeepfakeError, Unauthenticated
from deepfake_triton.gateway.dependencies import services_of
from deepfake_triton.gateway.page.rendering import render, texts_of
from deepfake_triton.gateway.problems import headers_of, status_of
from deepfake_triton.gateway.words.sentences import error_sentence

_OWN_PATH = re.compile(r"/(?:jobs/[\w-]{1,64}(?:/[\w-]{1,32}\.[a-z]{1,5})?)?", re.ASCII)
"""Where a login may lead: the start page, or that of a job and what can be saved there."""


class PageRoute(APIRoute):
    """A route of the page."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See APIRoute."""
        handle = super().get_route_handler()

        async def handle_as_page(request: Request) -> Response:
            try:
                return await handle(request)
            except Unauthenticated:
                return login_page(request, is_wrong=False, asked=_asked(request))
            except DeepfakeError as error:
                return error_page(request, error)

        return handle_as_page


def login_page(request: Request, *, is_wrong: bool, asked: str) -> Response:
    """Return the form that asks for a key, and leads to the page that was asked for."""
    return render(
        request,
        "login.html",
        status=HTTPStatus.UNAUTHORIZED,
        is_wrong=is_wrong,
        asked=own_path(asked),
    )


def own_path(path: str) -> str:
    """Return a path of the page as it is, the start page for anything else."""
    return path if _OWN_PATH.fullmatch(path) else "/"


def _asked(request: Request) -> str:
    return request.url.path if request.method == "GET" else "/"


def error_page(request: Request, error: DeepfakeError) -> Response:
    """Return what a typed error means, in words, and count it."""
    services, name = services_of(request), type(error).__name__
    services.metrics.refused(name)
    answer = render(
        request,
        "error.html",
        status=status_of(error),
        sentence=error_sentence(name, texts_of(request)),
        detail=str(error),
    )
    answer.headers.update(headers_of(services, error))
    return answer
