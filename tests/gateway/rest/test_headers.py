"""What POST /v1/detect refuses by its headers and the first bytes of its body."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from deepfake_triton.errors import InvalidOption
from deepfake_triton.gateway.rest.bodies import receive_body, require_body_type
from deepfake_triton.gateway.rest.detect import wants_job
from deepfake_triton.gateway.settings import Limits
from deepfake_triton.gateway.uploads.spool import Spool

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("lines", "is_asked"),
    [
        (("respond-async",), True),
        (("wait=5", "Respond-Async"), True),
        (("wait=5, respond-async; x=1",), True),
        (('respond-async=""',), True),
        (("respond-async = ",), True),
        (('handling="a, b", respond-async',), True),
        (("respond-async=no",), False),
        (('respond-async="no"',), False),
        (("wait; respond-async",), False),
        (('note="a, respond-async, b"',), False),
        (('note="a, respond-async',), False),
        ((), False),
    ],
)
def test_a_job_is_asked_for_as_rfc_7240_says(lines: tuple[str, ...], is_asked: bool) -> None:
    assert wants_job(lines) is is_asked


def test_a_hostile_preference_takes_no_time() -> None:
    began = time.thread_time()
    assert not wants_job(['"\\' * 16_000])
    assert time.thread_time() - began < 0.5


def request_with(*encodings: str) -> Request:
    headers = [(b"content-encoding", encoding.encode()) for encoding in encodings]
    return Request({"type": "http", "method": "POST", "path": "/v1/detect", "headers": headers})


@pytest.mark.parametrize("encodings", [("gzip",), ("identity", "br"), ("identity, Deflate",)])
def test_a_compressed_body_is_refused_with_the_types_that_are_taken(encodings: tuple[str, ...]) -> None:
    unused: Any = SimpleNamespace()
    with pytest.raises(HTTPException) as refused:
        require_body_type(request_with(*encodings), unused)
    assert refused.value.status_code == 415
    assert "video/*" in refused.value.detail and "multipart/form-data" in refused.value.detail
    for plain in ((), ("identity",), ("",)):
        require_body_type(request_with(*plain), unused)


def test_an_option_in_the_form_is_refused_before_the_file_comes(tmp_path: Path) -> None:
    head = b'--X\r\nContent-Disposition: form-data; name="windows"\r\n\r\n3\r\n--X\r\n'

    async def receive() -> Message:
        assert not asked, "the rest was asked for"
        asked.append(True)
        return {"type": "http.request", "body": head, "more_body": True}

    asked: list[bool] = []
    headers = [(b"content-type", b"multipart/form-data; boundary=X")]
    request = Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive)
    spool = Spool(tmp_path, Limits(spool_reserve_bytes=0))
    services: Any = SimpleNamespace(spool=spool)
    with pytest.raises(InvalidOption, match=r"query parameters: /v1/detect\?windows=3"):
        asyncio.run(receive_body(request, services))
    spool.close()
