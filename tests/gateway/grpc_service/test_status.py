from __future__ import annotations

import grpc
import pytest

from deepfake_triton import errors
from deepfake_triton.errors import DeepfakeError
from deepfake_triton.gateway.grpc_service.status import (
    MAX_DETAIL_CHARACTERS,
    code_of,
    details_of,
    trailers_of,
)
from deepfake_triton.gateway.problems import known_problems, status_of

pytestmark = pytest.mark.fast

CALLERS_FAULT = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.NOT_FOUND,
}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.NotAVideo, grpc.StatusCode.INVALID_ARGUMENT),
        (errors.DecoderFailed, grpc.StatusCode.INVALID_ARGUMENT),
        (errors.UploadTooLarge, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (errors.SpoolFull, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (errors.RateLimited, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (errors.Unauthenticated, grpc.StatusCode.UNAUTHENTICATED),
        (errors.GatewayBusy, grpc.StatusCode.UNAVAILABLE),
        (errors.ModelRestarting, grpc.StatusCode.UNAVAILABLE),
        (errors.ServerOverloaded, grpc.StatusCode.UNAVAILABLE),
        (errors.DeadlineExceeded, grpc.StatusCode.DEADLINE_EXCEEDED),
        (errors.InferenceFailed, grpc.StatusCode.INTERNAL),
        (DeepfakeError, grpc.StatusCode.INTERNAL),
    ],
)
def test_codes(error: type[DeepfakeError], code: grpc.StatusCode) -> None:
    assert code_of(error("message")) is code


NOT_IN_GRPC = {"JobNotReady", "IdempotencyConflict", "UrlRefused", "UrlUnavailable"}
OWN_WORD = {"SpoolFull"}
"""507 in REST; in gRPC a full disk is RESOURCE_EXHAUSTED, as an exceeded quota is."""


@pytest.mark.parametrize("name", sorted(known_problems().keys() - NOT_IN_GRPC - OWN_WORD))
def test_grpc_and_rest_agree_on_whose_fault_it_is(name: str) -> None:
    error = known_problems()[name]("message")
    assert (code_of(error) in CALLERS_FAULT) == (status_of(error) < 500)


def test_trailers_name_the_error_and_when_to_retry() -> None:
    assert trailers_of(errors.NotAVideo("x"), None) == (("error-type", "NotAVideo"),)
    assert trailers_of(errors.GatewayBusy("x"), 7) == (("error-type", "GatewayBusy"), ("retry-after", "7"))


def test_details_fit_into_trailers() -> None:
    assert details_of(errors.NotAVideo("a.mp4: not a video")) == "a.mp4: not a video"
    text = details_of(errors.NotAVideo("ö" * 5000))
    assert len(text) == MAX_DETAIL_CHARACTERS and text.endswith("…")
