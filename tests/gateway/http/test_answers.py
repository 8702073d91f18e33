from __future__ import annotations

import asyncio
import threading

import pytest

from deepfake_triton.gateway.http.answers import json_response
from deepfake_triton.json_object import JsonObject

pytestmark = pytest.mark.fast


def test_a_large_answer_is_made_beside_the_event_loop() -> None:
    makers = []

    def make() -> JsonObject:
        makers.append(threading.current_thread())
        return {"windows": [0.5]}

    response = asyncio.run(json_response(make, 202, {"Location": "/x"}))
    assert (response.status_code, response.headers["location"], response.body) == (
        202,
        "/x",
        b'{"windows":[0.5]}',
    )
    assert response.media_type == "application/json"
    assert len(makers) == 1 and makers != [threading.current_thread()]
