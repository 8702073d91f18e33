"""Status of a call that ends in an error: code, details and trailing metadata."""

from __future__ import annotations

import grpc

from deepfake_triton import errors
from deepfake_triton.errors import DeepfakeError

ERROR_TYPE = "error-type"
RETRY_AFTER = "retry-after"

MAX_DETAIL_CHARACTERS = 1000
"""Clients refuse trailers of more than 8 KiB; a character takes up to 12 bytes there."""

_CODES: dict[type[DeepfakeError], grpc.StatusCode] = {
    errors.InputError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UploadMalformed: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UploadTooLarge: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.SpoolFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.RateLimited: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.GatewayBusy: grpc.StatusCode.UNAVAILABLE,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.AccessRefused: grpc.StatusCode.PERMISSION_DENIED,
    errors.JobNotFound: grpc.StatusCode.NOT_FOUND,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.InvalidRequest: grpc.StatusCode.INTERNAL,
    errors.PermissionDenied: grpc.StatusCode.INTERNAL,
    errors.ContractMismatch: grpc.StatusCode.INTERNAL,
    errors.InferenceFailed: grpc.StatusCode.INTERNAL,
    errors.ServerError: grpc.StatusCode.UNAVAILABLE,
    DeepfakeError: grpc.StatusCode.INTERNAL,
}
"""Codes of errors; a class that is not listed has its base's."""


def code_of(error: DeepfakeError) -> grpc.StatusCode:
    """Return the status code of an error."""
    return next(_CODES[kind] for kind in type(error).__mro__ if kind in _CODES)


def details_of(error: DeepfakeError) -> str:
    """Return the message of an error, cut to what trailers may hold."""
    text = str(error)
    return text if len(text) <= MAX_DETAIL_CHARACTERS else text[: MAX_DETAIL_CHARACTERS - 1] + "…"


def trailers_of(error: DeepfakeError, retry_after_s: int | None) -> tuple[tuple[str, str], ...]:
    """Return the trailing metadata of an error: its type, and the seconds until a retry, if known."""
    trailers = ((ERROR_TYPE, type(error).__name__),)
    return trailers if retry_after_s is None else (*trailers, (RETRY_AFTER, str(retry_after_s)))
