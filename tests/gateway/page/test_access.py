"""Everyone: other visitors, keys, no JavaScript, small screens, keyboard, screen readers."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from gateway_page import Clips, PageKeys, Visit

from deepfake_triton.gateway.server import Listening

pytestmark = pytest.mark.triton


def is_too_wide(page: Any) -> bool:
    wide: bool = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    return wide


def violations(page: Any) -> list[str]:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    results = axe.Axe().run(
        page, options={"runOnly": [*("wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"), "best-practice"]}
    )
    return [
        f"{found['id']}: {node['html'][:200]}"
        for found in results.response["violations"]
        for node in found["nodes"]
    ]


def test_without_javascript_the_form_leads_to_the_verdict(visit: Visit, clips: Clips) -> None:
    page = visit(java_script_enabled=False)
    page.set_input_files("#file", str(clips.forged))
    page.get_by_role("button", name="Check").click()
    page.wait_for_url(re.compile(r"/jobs/[\w-]{32}$"))
    page.locator(".verdict", has_text="Signs of manipulation at 0:00–0:02").wait_for()
    assert page.locator(".name").inner_text() == "forged.mp4"
    page.locator("video[src$='/preview.mp4']").wait_for()
    preview = page.request.get(page.locator("video").get_attribute("src"), headers={"Range": "bytes=4-7"})
    assert preview.status == 206 and preview.body() == b"ftyp"
    assert page.locator(".portrait").count() == 1 and page.locator("svg.timeline .bar.fake").count() == 2
    for name in ("JSON", "CSV", "HTML report"):
        link = page.get_by_role("link", name=name)
        assert page.request.get(link.get_attribute("href")).ok
    assert page.locator("meta[http-equiv=refresh]").count() == 0
    assert not is_too_wide(page)


def enter(visit: Visit, gateway: Listening, key: str) -> Any:
    """Open the page, and show a key."""
    page = visit(base=gateway.url)
    assert page.locator("#file").count() == 0
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Continue").click()
    return page


def test_files_beyond_what_a_key_may_have_at_once_wait_their_turn(
    visit: Visit, clips: Clips, locked_gateway: Listening, page_keys: PageKeys
) -> None:
    page = enter(visit, locked_gateway, page_keys.slow)
    page.locator(".with-script").first.wait_for()
    page.set_input_files("#file", [str(clips.forged), str(clips.pristine)])
    page.locator(".state", has_text="The server is busy; trying again in").wait_for()
    page.locator(".result .verdict", has_text="Signs of manipulation").wait_for()
    page.locator(".result .verdict", has_text="No sign of manipulation").wait_for()


def test_two_visitors_with_keys_see_their_own_jobs_only(
    visit: Visit, clips: Clips, locked_gateway: Listening, page_keys: PageKeys
) -> None:
    visitors = []
    for key, clip, said in (
        (page_keys.first, clips.forged, "Signs of manipulation"),
        (page_keys.second, clips.pristine, "No sign of manipulation"),
    ):
        page = enter(visit, locked_gateway, key)
        page.set_input_files("#file", str(clip))
        visitors.append((page, said))
    addresses = []
    for page, said in visitors:
        page.locator(".result .verdict", has_text=said).wait_for()
        assert page.locator(".result").count() == 1
        addresses.append(page.get_by_role("link", name="JSON").get_attribute("href"))
    for (page, _), own, other in zip(visitors, addresses, reversed(addresses), strict=True):
        assert page.request.get(own).status == 200
        assert page.request.get(other).status == 404
        assert page.request.get(other.replace("verdict.json", "")[:-1]).status == 404
    cookie = visitors[0][0].context.cookies()[0]
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict"
    visitors[0][0].get_by_role("button", name="Forget my key").click()
    visitors[0][0].get_by_label("API key").wait_for()


def test_a_form_of_a_session_needs_its_token(
    locked_gateway: Listening, page_keys: PageKeys, clips: Clips
) -> None:
    with httpx.Client(base_url=locked_gateway.url, headers={"Origin": locked_gateway.url}) as http:
        assert http.get("/").status_code == 401
        wrong = http.post("/session", data={"key": "dft_wrong"})
        assert wrong.status_code == 401 and "not known" in wrong.text and "set-cookie" not in wrong.headers
        assert http.post("/session", data={"key": page_keys.first}).status_code == 303
        files = {"file": ("a.mp4", clips.pristine.read_bytes(), "video/mp4")}
        forged = http.post("/", data={"csrf": "x", "windows": "1"}, files=files)
        assert forged.status_code == 403 and "refused" in forged.text
        page = http.get("/")
        token = re.search(r'name="csrf" value="([^"]+)"', page.text)
        assert token is not None
        sent = http.post("/", data={"csrf": token[1], "windows": "1"}, files=files)
        assert sent.status_code == 303 and sent.headers["location"].startswith("/jobs/")
        assert http.post(f"{sent.headers['location']}/cancel", data={"csrf": "x"}).status_code == 403
        assert http.post(f"{sent.headers['location']}/cancel", data={"csrf": token[1]}).status_code == 303


@pytest.mark.parametrize("screen", ["Pixel 7", "320 px"])
def test_small_screens_need_no_sideways_scrolling(
    visit: Visit, playwright: Any, clips: Clips, screen: str
) -> None:
    device = playwright.devices.get(screen, {"viewport": {"width": 320, "height": 640}})
    page = visit(**{key: value for key, value in device.items() if key != "default_browser_type"})
    assert not is_too_wide(page)
    name = f"{'a-very-long-name' * 12}.mp4"
    page.set_input_files(
        "#file", {"name": name, "mimeType": "video/mp4", "buffer": clips.forged.read_bytes()}
    )
    page.locator(".result canvas[data-shown]").wait_for()
    for summary in page.locator("summary").all():
        summary.click()
    assert not is_too_wide(page)


def test_the_keyboard_is_enough(visit: Visit, clips: Clips) -> None:
    page = visit()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "file"
    with page.expect_file_chooser() as choosing:
        page.keyboard.press("Space")
    assert choosing.value.is_multiple()
    choosing.value.set_files(str(clips.forged))
    page.locator(".segment").first.wait_for()
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.classList.contains('segment')"):
            break
    page.keyboard.press("Tab")
    focused = page.locator(".segment:focus")
    assert focused.get_attribute("aria-label").startswith("Show 0:00.8–0:01.6, person 1")
    page.keyboard.press("Enter")
    page.locator(".result canvas[data-shown='1']").wait_for()
    assert page.locator(".result video").evaluate("video => video.currentTime") == pytest.approx(
        0.8, abs=0.05
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(visit: Visit, clips: Clips, scheme: str) -> None:
    page = visit(color_scheme=scheme, reduced_motion="reduce")
    assert violations(page) == []
    page.set_input_files("#file", [str(clips.forged)])
    page.locator(".segment").first.wait_for()
    for summary in page.locator("summary").all():
        summary.click()
    assert violations(page) == []
    assert page.locator("#announcer").inner_text() == "forged.mp4: Signs of manipulation at 0:00–0:02"
    address = page.get_by_role("link", name="JSON").get_attribute("href").replace("/verdict.json", "")
    page.goto(address)
    page.locator(".verdict").wait_for()
    assert violations(page) == []


def test_a_missing_job_is_told_in_words(visit: Visit) -> None:
    page = visit("/jobs/0123")
    assert "There is no such result any more" in page.locator("main").inner_text()
    assert violations(page) == []


def test_the_page_that_asks_for_a_key(visit: Visit, locked_gateway: Listening) -> None:
    page = visit(base=locked_gateway.url)
    page.get_by_label("API key").fill("dft_wrong")
    page.keyboard.press("Enter")
    page.locator("[role=alert]", has_text="This key is not known").wait_for()
    assert page.locator("#key").get_attribute("aria-invalid") == "true"
    assert violations(page) == []
