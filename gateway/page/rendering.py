"""Templates of the page, and what all of them are given."""

from __future__ import annotations

import math
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse

from deepfake_triton import __version__
from deepfake_triton.contracts import DEFAULT_FRAMES
from deepfake_triton.gateway.dependencies import services_of
from deepfake_triton.gateway.report.html_report import template_environment
from deepfake_triton.gateway.services import Services
from deepfake_triton.gateway.words.texts import Texts, texts_for
from deepfake_triton.gateway.words.times import duration_text, size_text
from deepfake_triton.host.addresses import is_loopback

_SCRIPT_TEXTS = ("live.", "error.", "form.cost")
"""Prefixes of the texts that scripts need."""


def texts_of(request: Request) -> Texts:
    """Return the texts in the visitor's language."""
    return texts_for(request.headers.get("accept-language"))


def render(request: Request, template: str, *, status: int = HTTPStatus.OK, **values: object) -> HTMLResponse:
    """Return a page; a value named `t` is the visitor's texts."""
    texts, services = texts_of(request), services_of(request)
    content = (
        _environment()
        .get_template(template)
        .render(
            t=texts,
            script_texts={key: text for prefix in _SCRIPT_TEXTS for key, text in texts.below(prefix).items()},
            csrf=services.access.sessions.csrf_token(request),
            has_keys=services.access.has_keys,
            retention_minutes=max(1, math.ceil(services.settings.limits.retention_s / 60)),
            has_webhook=bool(services.settings.webhooks and services.settings.webhooks.url),
            is_local=all(is_loopback(url.rpartition(":")[0]) for url in services.settings.urls),
            version=__version__,
            **values,
        )
    )
    return HTMLResponse(
        content, status, {"Vary": "Accept-Language, Cookie", "Content-Language": texts.language}
    )


def cost_of(services: Services, texts: Texts, windows: int) -> str:
    """Say what a number of windows costs on this machine, as far as it was measured."""
    seconds = services.jobs.seconds_per_window
    if seconds is None:
        return texts("form.cost_unknown", windows=windows, frames=DEFAULT_FRAMES)
    total = max(1, math.ceil(windows * seconds))
    return texts("form.cost", windows=windows, frames=DEFAULT_FRAMES, seconds=total)


@cache
def _environment() -> Any:
    environment = template_environment(Path(__file__).parent / "templates")
    environment.filters["size"] = size_text
    environment.filters["duration"] = duration_text
    return environment
