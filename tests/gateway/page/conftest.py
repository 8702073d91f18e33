"""A real headless Chromium, and a gateway in front of a Triton with the shipped weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import av
import pytest
from gateway_page import Clips, PageKeys, Visit
from running_gateway import running_gateway

from deepfake_triton import cli
from deepfake_triton.gateway.access.key_file import create_key
from deepfake_triton.gateway.server import Listening
from deepfake_triton.gateway.settings import GatewaySettings
from deepfake_triton.serving.server import TritonServer

CHROMIUM = Path("/usr/bin/chromium")
_ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
_OWN_SCHEMES = {"blob", "data", "about"}


def cut(source: Path, target: Path, seconds: float) -> Path:
    """Copy the first packets of a video, without encoding anything again."""
    with av.open(str(source)) as read, av.open(str(target), "w") as written:
        stream = read.streams.video[0]
        copy = written.add_stream_from_template(stream)
        for packet in read.demux(stream):
            if packet.pts is not None and packet.pts * packet.time_base < seconds:
                packet.stream = copy
                written.mux(packet)
    return target


@pytest.fixture(scope="session")
def clips(clip_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Clips:
    folder = tmp_path_factory.mktemp("page_clips")
    pristine = cut(clip_path, folder / "pristine.mp4", 1.6)
    forged = folder / "forged.mp4"
    assert cli.main(["forge", str(pristine), "--output", str(forged), "--strength", "1.5"]) == 0
    return Clips(pristine, forged)


@pytest.fixture(scope="session")
def page_gateway(default_server: TritonServer) -> Iterator[Listening]:
    with running_gateway(GatewaySettings(urls=(default_server.url,), port=0, grpc_port=None)) as listening:
        yield listening


@pytest.fixture(scope="session")
def page_keys(tmp_path_factory: pytest.TempPathFactory) -> PageKeys:
    path = tmp_path_factory.mktemp("page_keys") / "keys"
    return PageKeys(
        path, create_key(path, "ann"), create_key(path, "bob"), create_key(path, "cal", max_jobs=1)
    )


@pytest.fixture(scope="session")
def locked_gateway(default_server: TritonServer, page_keys: PageKeys) -> Iterator[Listening]:
    settings = GatewaySettings(urls=(default_server.url,), port=0, grpc_port=None, api_keys=page_keys.file)
    with running_gateway(settings) as listening:
        yield listening


@pytest.fixture(scope="module")
def playwright() -> Iterator[Any]:
    """Not for the whole session: until it stops, no test can run an event loop of its own."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright: pip install -e '.[web-test]'")
    with sync_api.sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def browser(playwright: Any) -> Iterator[Any]:
    if not CHROMIUM.is_file():
        pytest.skip(f"{CHROMIUM} is missing: apt-get install chromium")
    opened = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(_ARGUMENTS))
    yield opened
    opened.close()


@pytest.fixture
def visit(browser: Any, page_gateway: Listening) -> Iterator[Visit]:
    """Visitors; at the end, none may have asked anything outside this machine, or broken a script."""
    contexts: list[Any] = []
    asked: list[str] = []
    faults: list[str] = []

    def open_page(path: str = "/", base: str = page_gateway.url, **options: Any) -> Any:
        context = browser.new_context(base_url=base, **options)
        contexts.append(context)
        context.set_default_timeout(60_000)
        context.on("request", lambda request: asked.append(request.url))
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text) if "Content Security" in said.text else None)
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert asked
    places = [urlsplit(url) for url in asked]
    assert {place.hostname for place in places if place.scheme not in _OWN_SCHEMES} == {"127.0.0.1"}
    assert faults == []
