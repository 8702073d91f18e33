from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from deepfake_triton.gateway.server import Listening

pytestmark = pytest.mark.triton

COUNT = 50


def test_fifty_uploads_at_once_are_all_answered(gateway: Listening, clip_bytes: bytes) -> None:
    def upload(number: int) -> httpx.Response:
        files = {"file": (f"clip-{number}.mp4", clip_bytes)}
        return httpx.post(f"{gateway.url}/v1/detect?frames=1", files=files, timeout=120, trust_env=False)

    with ThreadPoolExecutor(COUNT) as threads:
        answers = list(threads.map(upload, range(COUNT)))
    assert [answer.status_code for answer in answers] == [200] * COUNT
    assert [answer.json()["video"] for answer in answers] == [f"clip-{number}.mp4" for number in range(COUNT)]
    assert len({answer.json()["faces"][0]["fake_probability"] for answer in answers}) == 1
