"""Declared sizes of bodies."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from deepfake_triton.gateway.uploads.body import declared_bytes_of

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"content-length": "1000000"}, 1_000_000),
        ({"content-length": "0"}, 0),
        ({"content-length": "1000000", "content-type": "video/mp4"}, 1_000_000),
        ({"content-length": "1065536", "content-type": "multipart/form-data; boundary=x"}, 1_000_000),
        ({"content-length": "1065536", "content-type": "Multipart/Form-Data"}, 1_000_000),
        ({"content-length": "9", "content-type": "multipart/form-data; boundary=x"}, 0),
        ({"content-length": "-1"}, None),
        ({"content-length": "\u0663"}, None),
        ({}, None),
    ],
)
def test_the_size_of_the_file_is_what_a_request_declares(
    headers: dict[str, str], expected: int | None
) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    assert declared_bytes_of(Request({"type": "http", "headers": raw})) == expected
