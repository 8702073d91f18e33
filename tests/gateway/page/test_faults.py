"""What goes wrong on the way: files that cannot be read, wrong settings, ended sessions, lost jobs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_page import Clips, PageKeys, Visit

from deepfake_triton.gateway.server import Listening

pytestmark = pytest.mark.triton

_SEEK = """async () => {
    const {Player} = await import("/static/player.js");
    const video = document.createElement("video");
    Object.defineProperty(video, "duration", {value: 60});
    const player = new Player(video, [], "a small copy"), said = [];
    for (const seconds of [70, 60.2]) {
        player.seek(seconds);
        said.push(player.element.textContent);
    }
    return said;
}"""
_SHOW = """async (isPicture) => {
    const {showOwnFile} = await import("/static/verdict.js");
    const root = document.createElement("div"), place = document.createElement("div");
    place.className = "player-place";
    root.append(place);
    const part = {person: 1, reading: "fake", seconds: [0], boxes: [[0, 0, 1, 1]], hold_seconds: 9};
    const given = {is_picture: isPicture, duration_seconds: 2, boxes: [part, part]};
    showOwnFile(root, new File(["x"], "a.gif", {type: "image/gif"}), "picture", given);
    return root.querySelectorAll("input[type=checkbox]").length;
}"""


def test_files_wait_for_a_right_number_of_windows_and_one_that_is_gone_is_told(
    visit: Visit, clips: Clips, tmp_path: Path
) -> None:
    gone = tmp_path / "gone.mp4"
    shutil.copy(clips.pristine, gone)
    page = visit()
    page.get_by_label("Windows").fill("0")
    page.set_input_files("#file", [str(gone), str(clips.forged)])
    page.locator("#form-message", has_text="right: 2.").wait_for()
    assert page.locator(".result").count() == 0
    gone.unlink()
    page.get_by_label("Windows").fill("1")
    page.get_by_role("button", name="Check").click()
    page.locator(".result", has_text="forged.mp4").locator(".verdict", has_text="Signs of").wait_for()
    told = page.locator(".result", has_text="gone.mp4").locator(".verdict")
    assert told.inner_text() == "This file cannot be read"
    assert page.locator("#form-message").inner_text() == ""


def test_an_ended_session_is_told_at_once(visit: Visit, clips: Clips) -> None:
    page = visit()
    asked: list[str] = []
    problem = {"status": 401, "error": "Unauthenticated", "detail": "no API key"}

    def refuse(route: Any) -> None:
        asked.append(route.request.url)
        route.fulfill(status=401, json=problem)

    page.route("**/v1/jobs/**", refuse)
    page.set_input_files("#file", str(clips.pristine))
    page.locator(".result .verdict").wait_for()
    assert page.locator(".result .verdict").inner_text().startswith("Your session has ended: load this page")
    assert "no API key" in page.locator(".result").inner_text() and len(asked) == 2


def test_the_page_of_a_job_shows_its_progress_and_that_it_is_lost(visit: Visit, clip_path: Path) -> None:
    page = visit()
    window = 'event: window\ndata: {"windows_judged": 3, "num_windows": 8, "fake_probability": null}\n\n'
    page.route(
        "**/v1/jobs/*/events", lambda route: route.fulfill(content_type="text/event-stream", body=window)
    )
    part = {"name": "a.mp4", "mimeType": "video/mp4", "buffer": clip_path.read_bytes()}
    sent = page.request.post("/", multipart={"windows": "8", "file": part}, max_redirects=0)
    page.goto(sent.headers["location"])
    page.locator(".state", has_text="Judging: 3 of about 8 windows").wait_for()
    assert page.locator("progress").evaluate("bar => bar.value / bar.max") == pytest.approx(3 / 8)
    page.unroute("**/v1/jobs/*/events")
    page.route("**/v1/jobs/**", lambda route: route.fulfill(status=404, json={"error": "JobNotFound"}))
    page.locator(".state", has_text="There is no such result any more").wait_for()
    assert page.locator("progress").is_hidden()


def test_the_player_says_where_it_ends_and_animations_get_no_boxes(visit: Visit) -> None:
    page = visit()
    assert page.evaluate(_SEEK) == [
        "What is played here ends at 1:00; later moments cannot be shown.",
        "a small copy",
    ]
    assert (page.evaluate(_SHOW, True), page.evaluate(_SHOW, False)) == (1, 0)


def test_a_login_leads_to_the_page_that_was_asked_for(locked_gateway: Listening, page_keys: PageKeys) -> None:
    with httpx.Client(base_url=locked_gateway.url, headers={"Origin": locked_gateway.url}) as http:
        asked = http.get("/jobs/aB-9")
        assert asked.status_code == 401 and 'name="next" value="/jobs/aB-9"' in asked.text
        wrong = http.post("/session", data={"key": "dft_wrong", "next": "/jobs/aB-9"})
        assert 'name="next" value="/jobs/aB-9"' in wrong.text
        for given, place in (("/jobs/aB-9", "/jobs/aB-9"), ("//evil.example", "/")):
            opened = http.post("/session", data={"key": page_keys.first, "next": given})
            assert (opened.status_code, opened.headers["location"]) == (303, place)
