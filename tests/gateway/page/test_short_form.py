"""Forms of a few fields, which anyone may send: whole ones, long ones, and those that never end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest
from starlette.requests import Request
from starlette.types import Message

from deepfake_triton.errors import UploadMalformed
from deepfake_triton.gateway.page import form

pytestmark = pytest.mark.fast


def read(messages: Sequence[Message], *, pause_s: float = 0.0) -> dict[str, str]:
    """Read a form of messages with pauses between them; nothing comes behind the last."""
    left = list(messages)

    async def receive() -> Message:
        await asyncio.sleep(pause_s if left else 60)
        return left.pop(0)

    request = Request({"type": "http", "method": "POST", "headers": [], "path": "/"}, receive)
    return asyncio.run(form.read_short_form(request))


def part(body: bytes, *, is_last: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": not is_last}


def test_the_fields_of_a_form_are_read() -> None:
    assert read([part(b"key=a%20b&cs"), part(b"rf=x", is_last=True)]) == {"key": "a b", "csrf": "x"}


@pytest.mark.parametrize("num_bytes", [0, 1, 1000])
def test_a_form_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch, num_bytes: int) -> None:
    monkeypatch.setattr(form, "_SHORT_TIMEOUT_S", 0.1)
    started = time.monotonic()
    with pytest.raises(UploadMalformed, match="not whole after"):
        read([part(b"k")] * num_bytes, pause_s=0.01)
    assert time.monotonic() - started < 10


def test_a_form_that_is_cut_off_is_malformed() -> None:
    with pytest.raises(UploadMalformed, match="cut off"):
        read([part(b"key=a"), {"type": "http.disconnect"}])


@pytest.mark.parametrize("body", [b"k" * 5000, b"&".join(b"k%d=1" % number for number in range(11))])
def test_a_form_of_too_much_is_malformed(body: bytes) -> None:
    with pytest.raises(UploadMalformed, match="got"):
        read([part(body, is_last=True)])
