"""Files that wait for others, visitors who leave, and visitors side by side."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
from gateway_page import Clips, Visit, until
from running_gateway import running_gateway

from deepfake_triton.gateway.server import Listening
from deepfake_triton.gateway.settings import GatewaySettings, Limits
from deepfake_triton.serving.server import TritonServer

pytestmark = pytest.mark.triton
_RECORD = """() => {
    window.said = [];
    new MutationObserver(() => {
        for (const state of document.querySelectorAll(".result .state")) window.said.push(state.textContent);
    }).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""


@pytest.fixture(scope="module")
def narrow_gateway(default_server: TritonServer) -> Iterator[Listening]:
    """A gateway that judges one file at a time."""
    limits = Limits(max_running=1)
    settings = GatewaySettings(urls=(default_server.url,), port=0, grpc_port=None, limits=limits)
    with running_gateway(settings) as listening:
        yield listening


@pytest.fixture(scope="module")
def long_clip(clip_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled clip three times in a row: 14.4 s."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    with av.open(str(path), "w") as written:
        copy, shift = None, 0
        for _ in range(3):
            with av.open(str(clip_path)) as read:
                stream = read.streams.video[0]
                copy = copy or written.add_stream_from_template(stream)
                for packet in read.demux(stream):
                    if packet.pts is None or packet.dts is None:
                        continue
                    packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, copy
                    written.mux(packet)
                shift += stream.duration or 0
    return path


def job_ids(page: Any, count: int) -> list[str]:
    """The jobs that a page started, by the answers it gets."""
    ids: list[str] = []

    def note(answer: Any) -> None:
        if "/v1/detect" in answer.url and answer.status == 202:
            ids.append(answer.headers["location"].rpartition("/")[2])

    page.on("response", note)
    while len(ids) < count:
        page.wait_for_timeout(20)
    return ids


def test_the_default_of_eight_windows_is_judged_over_the_whole_video(visit: Visit, long_clip: Path) -> None:
    page = visit()
    assert page.get_by_label("Windows").input_value() == "8"
    page.set_input_files("#file", str(long_clip))
    page.locator(".segment").first.wait_for()
    assert page.locator(".segment").count() == 8
    assert "Judged: 160 frames of a video of 0:14" in page.locator(".result").inner_text()
    told = page.request.get(page.get_by_role("link", name="JSON").get_attribute("href")).json()
    segments = told["faces"][0]["segments"]
    assert len(segments) == 8 and told["frames_decoded"] == 160
    starts = [segment["start_seconds"] for segment in segments]
    steps = [second - first for first, second in pairwise(starts)]
    assert starts[0] == 0 and max(steps) < 2.1 and min(steps) > 1.7
    assert segments[-1]["end_seconds"] == pytest.approx(14.4, abs=0.1)


def test_files_that_wait_are_told_their_place(
    visit: Visit, narrow_gateway: Listening, long_clip: Path
) -> None:
    page = visit(base=narrow_gateway.url)
    page.evaluate(_RECORD)
    page.get_by_label("Windows").fill("2")
    files = [
        {"name": f"{number}.mp4", "mimeType": "video/mp4", "buffer": long_clip.read_bytes()}
        for number in range(3)
    ]
    page.set_input_files("#file", files)
    until(lambda: page.locator(".result .verdict").count() == 3)
    said = page.evaluate("window.said")
    assert {"Waiting: place 1 in the queue", "Waiting: place 2 in the queue"} <= set(said)


def test_without_javascript_the_place_is_told_too(narrow_gateway: Listening, long_clip: Path) -> None:
    with httpx.Client(base_url=narrow_gateway.url, timeout=60, trust_env=False) as http:
        part = {"file": ("a.mp4", long_clip.read_bytes(), "video/mp4")}
        places = [http.post("/", files=part).headers["location"] for _ in range(3)]
        waiting = http.get(places[2])
        assert "Waiting: place 2 in the queue" in waiting.text and 'http-equiv="refresh"' in waiting.text
        for place in places:
            http.post(f"{place}/cancel")
        assert "Canceled" in http.get(places[2]).text


def test_who_leaves_the_page_cancels_what_is_under_way(
    visit: Visit, narrow_gateway: Listening, long_clip: Path
) -> None:
    page = visit(base=narrow_gateway.url)
    page.set_input_files("#file", [str(long_clip), str(long_clip)])
    jobs = job_ids(page, 2)
    told = page.locator(".state", has_text=re.compile("Waiting: place|Reading|Judging"))
    until(lambda: told.count() == 2)
    page.goto("about:blank")
    with httpx.Client(base_url=narrow_gateway.url, trust_env=False) as http:
        for job in jobs:
            until(partial(is_canceled, http, job), timeout_s=5)


def is_canceled(http: httpx.Client, job: str) -> bool:
    return bool(http.get(f"/v1/jobs/{job}").json()["state"] == "canceled")


def test_two_visitors_without_keys_see_their_own_files_only(visit: Visit, clips: Clips) -> None:
    first, second = visit(), visit()
    first.set_input_files("#file", str(clips.forged))
    first.locator(".result .verdict").wait_for()
    second.reload()
    assert second.locator(".result").count() == 0 and "forged.mp4" not in second.content()
    job = first.get_by_role("link", name="JSON").get_attribute("href").split("/")[2]
    assert len(job) == 32, "nobody guesses the name of a job"
    for listing in ("/jobs", "/jobs/", "/v1/jobs", "/v1/jobs/"):
        answer = second.request.get(listing)
        assert answer.status in {404, 405} and job not in answer.text()
    assert job not in json.dumps(second.request.get("/metrics").text())
