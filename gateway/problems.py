"""Problem details (RFC 9457) of every typed error: status, title, text."""

from __future__ import annotations

import inspect
from http import HTTPStatus

from deepfake_triton import errors
from deepfake_triton.errors import DeepfakeError
from deepfake_triton.gateway.services import Services
from deepfake_triton.json_object import JsonObject

MEDIA_TYPE = "application/problem+json"

# The first class that an error is an instance of decides.
_STATUS: tuple[tuple[type[DeepfakeError], HTTPStatus], ...] = (
    (errors.Unauthenticated, HTTPStatus.UNAUTHORIZED),
    (errors.AccessRefused, HTTPStatus.FORBIDDEN),
    (errors.UrlRefused, HTTPStatus.FORBIDDEN),
    (errors.RateLimited, HTTPStatus.TOO_MANY_REQUESTS),
    (errors.JobNotFound, HTTPStatus.NOT_FOUND),
    (errors.JobNotReady, HTTPStatus.CONFLICT),
    # draft-ietf-httpapi-idempotency-key-header, 2.7: another payload under a used key.
    (errors.IdempotencyConflict, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.UploadMalformed, HTTPStatus.BAD_REQUEST),
    (errors.UploadTooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (errors.VideoTooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (errors.SpoolFull, HTTPStatus.INSUFFICIENT_STORAGE),
    (errors.GatewayBusy, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.UrlUnavailable, HTTPStatus.BAD_GATEWAY),
    (errors.InputError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.ServerUnreachable, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.ServerOverloaded, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.ModelUnavailable, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.DeadlineExceeded, HTTPStatus.GATEWAY_TIMEOUT),
    (errors.ServerError, HTTPStatus.BAD_GATEWAY),
)
_REPEATABLE = {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS}


def status_of(error: DeepfakeError) -> HTTPStatus:
    """Return the HTTP status of an error."""
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return status
    return HTTPStatus.INTERNAL_SERVER_ERROR


def problem_of(error: DeepfakeError) -> JsonObject:
    """Return the problem object of an error; `error` is its type in errors.py."""
    name = type(error).__name__
    return _problem(f"/problems/{name}", title_of(type(error)), status_of(error), str(error), name)


def status_problem(status: HTTPStatus, detail: str) -> JsonObject:
    """Return the problem object of a refusal that is no typed error, such as an unknown path."""
    return _problem("about:blank", status.phrase, status, detail, f"Http{int(status)}")


def _problem(kind: str, title: str, status: HTTPStatus, detail: str, error: str) -> JsonObject:  # noqa: PLR0917
    return {"type": kind, "title": title, "status": int(status), "detail": detail, "error": error}


def title_of(kind: type[DeepfakeError]) -> str:
    """Return the sentence that says what a type of error is about."""
    return (inspect.getdoc(kind) or "").partition("\n")[0]


def retry_after_of(services: Services, error: DeepfakeError) -> int | None:
    """Return after how many seconds the request may be repeated; None where that would not help."""
    if status_of(error) not in _REPEATABLE:
        return None
    return getattr(error, "retry_after_s", None) or services.jobs.retry_after_s()


def headers_of(services: Services, error: DeepfakeError) -> dict[str, str]:
    """Return the headers that belong to an error: when to repeat the request, how to authenticate."""
    headers = {}
    if (retry_after_s := retry_after_of(services, error)) is not None:
        headers["Retry-After"] = str(retry_after_s)
    if status_of(error) == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="deepfake-triton"'
    return headers


def known_problems() -> dict[str, type[DeepfakeError]]:
    """Return the types of errors by name, those that a gateway can answer with."""
    roots = (errors.GatewayError, errors.InputError, errors.ServerError)
    return {
        name: kind
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, roots) and kind not in roots
    }
