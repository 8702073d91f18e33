"""Parts of the page without a browser: static files, ranges of a preview, boxes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import httpx
import numpy as np
import pytest
from gateway_verdicts import person, verdict
from paths import ROOT
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message

from deepfake_triton.gateway.page.boxes import boxes_of
from deepfake_triton.gateway.page.page_route import own_path
from deepfake_triton.gateway.page.preview import preview_response
from deepfake_triton.gateway.page.static_files import static_file
from deepfake_triton.gateway.report.entries import ReportEntry
from deepfake_triton.gateway.report.html_report import entry_shown, template_environment
from deepfake_triton.gateway.words.texts import read_texts

pytestmark = pytest.mark.fast

STATIC = ROOT / "gateway/page/static"
Get = Callable[..., httpx.Response]
BYTES = bytes(range(256)) * 700


@pytest.fixture
def preview() -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as file:
        file.write(BYTES)
        file.flush()
        yield file


@pytest.fixture
def get(preview: BinaryIO) -> Get:
    async def static(request: Request) -> Response:
        return static_file(request, request.path_params["name"])

    async def film(request: Request) -> Response:
        return preview_response(preview, request.headers.get("range"))

    app = Starlette(routes=[Route("/static/{name:path}", static), Route("/preview.mp4", film)])

    async def ask(path: str, **headers: str) -> httpx.Response:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://testserver"
        ) as client:
            return await client.get(path, headers=headers)

    return lambda path, **headers: asyncio.run(ask(path, **headers))


def test_static_files_are_told_apart_by_their_hash(get: Get) -> None:
    for path in STATIC.iterdir():
        first = get(f"/static/{path.name}")
        assert first.status_code == 200 and first.content == path.read_bytes()
        assert first.headers["content-type"].startswith(("text/css", "text/javascript", "image/svg+xml"))
        again = get(f"/static/{path.name}", **{"If-None-Match": first.headers["etag"]})
        assert again.status_code == 304 and again.content == b""
    for name in ("routes.py", "../routes.py", "%2e%2e/routes.py", ""):
        assert get(f"/static/{name}").status_code == 404


@pytest.mark.parametrize(
    ("wanted", "status", "start", "end"),
    [
        (None, 200, 0, len(BYTES)),
        ("bytes=0-", 206, 0, len(BYTES)),
        ("bytes=5-9", 206, 5, 10),
        ("bytes=-7", 206, len(BYTES) - 7, len(BYTES)),
        ("bytes=100-999999999", 206, 100, len(BYTES)),
        ("bytes=1-2,4-5", 200, 0, len(BYTES)),
        ("lines=1-2", 200, 0, len(BYTES)),
        ("bytes=-", 200, 0, len(BYTES)),
    ],
)
def test_a_preview_comes_in_ranges(get: Get, wanted: str | None, status: int, start: int, end: int) -> None:
    answer = get("/preview.mp4", **({"Range": wanted} if wanted else {}))
    assert answer.status_code == status and answer.content == BYTES[start:end]
    assert int(answer.headers["content-length"]) == end - start
    if status == 206:
        assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(BYTES)}"


@pytest.mark.parametrize("wanted", [f"bytes={len(BYTES)}-", "bytes=9-5", "bytes=-0"])
def test_a_range_with_nothing_in_it_is_refused(get: Get, wanted: str) -> None:
    answer = get("/preview.mp4", Range=wanted)
    assert answer.status_code == 416 and answer.headers["content-range"] == f"bytes */{len(BYTES)}"


def num_open(file: BinaryIO) -> int:
    """Number of descriptors of a file in this process."""
    own = os.fstat(file.fileno())
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            count += os.path.samestat(entry.stat(), own)
    return count


def test_who_leaves_before_or_while_a_preview_comes_leaves_nothing_open(preview: BinaryIO) -> None:
    """A browser that seeks leaves one answer after another."""

    async def leave(after_messages: int) -> None:
        left, sent = asyncio.Event(), 0

        async def receive() -> Message:
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(_: Message) -> None:
            nonlocal sent
            sent += 1
            if sent > after_messages:
                left.set()
                await asyncio.sleep(60)

        if not after_messages:
            left.set()
        answer = preview_response(preview, None)
        await asyncio.wait_for(answer({"type": "http", "asgi": {"spec_version": "2.3"}}, receive, send), 5)

    for after_messages in (0, 0, 1, 2):
        asyncio.run(leave(after_messages))
    preview_response(preview, None)  # which nobody sends
    gc.collect()
    assert num_open(preview) == 1


def test_boxes_are_fractions_of_the_picture_in_time() -> None:
    first, second = boxes_of(verdict(person(0, [(3, 0.9)]), person(1, [(7, 0.1)])))
    assert (first["person"], first["reading"]) == (1, "fake")
    assert (second["person"], second["reading"]) == (2, "real")
    assert first["boxes"][0] == [0.05, 0.2, 0.15, 0.6] and len(first["boxes"]) == 25
    assert first["boxes"][10][0] == pytest.approx(0.1)
    assert np.allclose(first["seconds"], 3 + np.arange(25) / 25)
    assert first["hold_seconds"] == pytest.approx(0.04)
    assert (
        boxes_of(verdict(person(0, [(0, 0.9)]), frames_decoded=1, duration_seconds=1.0))[0]["hold_seconds"]
        > 60
    )


def test_scripts_and_templates_keep_to_the_policy() -> None:
    """No inline script, style or handler, no HTML made from strings, nothing from elsewhere."""
    for path in (*STATIC.glob("*.js"), *(ROOT / "gateway/page/templates").iterdir()):
        text = path.read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text), path
        assert not re.search(r"\son\w+=|\sstyle=|<style|javascript:|https?://", text), path
    known = read_texts("en").entries
    for path in STATIC.glob("*.js"):
        for key in re.findall(r'\bt\("([\w.]+)"', path.read_text()):
            assert key in known and key.startswith(("live.", "error.", "form.cost")), f"{path.name}: {key}"


def test_a_login_leads_to_pages_of_this_gateway_only() -> None:
    for own in ("/", "/jobs/aB-_9", "/jobs/aB-_9/report.html"):
        assert own_path(own) == own
    for other in (
        "",
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "/jobs//evil",
        "/jobs/a\n",
        "/x",
    ):
        assert own_path(other) == "/"


def test_the_persons_of_a_card_come_below_its_heading() -> None:
    environment = template_environment(ROOT / "gateway/page/templates")
    entry = ReportEntry("a.mp4", None, 0.0, verdict(person(0, [(0, 0.9)])))
    values = {"t": read_texts("en"), "item": entry_shown(entry, read_texts("en")), "retention_minutes": 7}
    text = environment.get_template("verdict_part.html").render(**values, job={"id": "a"})
    assert "<h4>Person 1</h4>" in text and "<h3" not in text and "Save, within 7 min:" in text
