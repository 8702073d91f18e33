"""Files that come by drop, choice and paste: progress, verdict, timeline, player, cancel."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from gateway_page import Clips, Visit, until
from support import write_clip

from deepfake_triton.models.default_checkpoint import default_checkpoint
from deepfake_triton.preprocessing.video.clip import decode_clip

pytestmark = pytest.mark.triton

HOSTILE = "<img src=x onerror=alert(1)>.mp4"
_HAND_OVER = """([data, name, type, event]) => {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name, {type}));
    const init = {bubbles: true, cancelable: true};
    const made = event === "drop" ? new DragEvent("drop", {...init, dataTransfer: transfer})
                                  : new ClipboardEvent("paste", {...init, clipboardData: transfer});
    document.getElementById("drop").dispatchEvent(made);
}"""
_RECORD = """() => {
    window.said = [];
    new MutationObserver(() => {
        const text = document.querySelector(".result .state")?.textContent;
        if (text && window.said.at(-1) !== text) window.said.push(text);
    }).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""


def hand_over(page: Any, path: Path, event: str, name: str | None = None) -> None:
    """Drop or paste a file, as the browser would hand it to the page."""
    data = base64.b64encode(path.read_bytes()).decode()
    page.evaluate(_HAND_OVER, [data, name or path.name, "video/mp4", event])


def sentence(page: Any) -> str:
    text: str = page.locator(".result .verdict").first.inner_text()
    return text


def test_a_dropped_forged_clip_gets_progress_verdict_timeline_and_boxes(visit: Visit, clips: Clips) -> None:
    page = visit()
    page.evaluate(_RECORD)
    hand_over(page, clips.forged, "drop")
    assert sentence(page) == "Signs of manipulation at 0:00–0:02"
    said = page.evaluate("window.said")
    assert any(text.startswith("Sending:") for text in said), said
    assert any(text.startswith(("Reading:", "Judging:")) for text in said), said
    card = page.locator(".result")
    for words in (
        "0 = no sign, 1 = strong signs",
        f"FAKE from {default_checkpoint().metadata.operating_points['balanced']:.3g}",
        "not a proof",
        "What this model cannot see",
    ):
        assert words in card.inner_text()
    assert "judged windows" in card.locator("svg.timeline").get_attribute("aria-label")
    assert card.locator(".portrait").evaluate("image => image.naturalWidth") == 96
    segments = card.get_by_role("button", name="signs of manipulation, probability of FAKE")
    assert segments.count() == 2
    segments.nth(1).click()
    until(lambda: card.locator("video").evaluate("video => video.currentTime") > 0.75)
    card.locator("canvas[data-shown='1']").wait_for()
    assert card.locator("video").evaluate("video => video.src").startswith("blob:")
    assert drawn_red(page) > 200
    card.get_by_label("Show boxes").uncheck()
    assert drawn_red(page) == 0


def drawn_red(page: Any) -> int:
    """Number of pixels of the canvas in the color of FAKE."""
    count: int = page.locator(".result canvas").evaluate(
        """canvas => {
            const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            let count = 0;
            for (let i = 0; i < data.length; i += 4)
                count += Math.abs(data[i] - 179) + Math.abs(data[i+1] - 38) + Math.abs(data[i+2] - 30) < 12
                         && data[i+3] > 200;
            return count;
        }"""
    )
    return count


def test_chosen_files_are_judged_side_by_side_and_hostile_names_are_text(visit: Visit, clips: Clips) -> None:
    page = visit()
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    files = [
        {"name": HOSTILE, "mimeType": "video/mp4", "buffer": clips.pristine.read_bytes()},
        {"name": "notes.mp4", "mimeType": "video/mp4", "buffer": b"no video at all\n" * 100},
    ]
    page.set_input_files("#file", files)
    judged = page.locator(".result", has_text="No sign of manipulation found")
    failed = page.locator(".result", has_text="This file is not a video or picture that can be read")
    judged.locator(".verdict").wait_for()
    failed.locator(".verdict").wait_for()
    assert judged.locator(".name").inner_text() == HOSTILE
    assert page.locator("img[src=x]").count() == 0
    with page.expect_download() as saving:
        judged.get_by_role("link", name="HTML report").click()
    report = Path(saving.value.path()).read_text()
    assert "&lt;img src=x" in report and "<img src=x" not in report
    failed.get_by_role("button", name="Remove notes.mp4").click()
    assert page.locator(".result").count() == 1
    assert page.evaluate("document.activeElement.textContent") == HOSTILE


def test_a_pasted_file_is_judged_with_the_chosen_settings(visit: Visit, clips: Clips) -> None:
    page = visit()
    page.get_by_label("Windows").fill("1")
    page.get_by_label("Operating point").select_option("conservative")
    hand_over(page, clips.pristine, "paste")
    assert sentence(page) == "No sign of manipulation found"
    with page.expect_download() as saving:
        page.get_by_role("link", name="JSON").click()
    saved = Path(saving.value.path()).read_text()
    assert '"name":"conservative"' in saved.replace(" ", "") and '"frames_decoded":20' in saved.replace(
        " ", ""
    )
    assert page.locator("#cost").inner_text().startswith("1 × 20 frames for each file: about ")


@pytest.fixture(scope="module")
def unplayable(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video that the gateway reads and no browser plays."""
    frames = list(decode_clip(clips.pristine).frames.data[:20])
    path = tmp_path_factory.mktemp("unplayable") / "old.avi"
    write_clip(path, frames, codec="mpeg4", codec_options={"qscale": "2"})
    with av.open(str(path)) as video:
        assert video.streams.video[0].codec.name == "mpeg4"
    return path


def test_what_the_browser_cannot_play_is_shown_as_a_small_copy(visit: Visit, unplayable: Path) -> None:
    page = visit()
    page.set_input_files("#file", str(unplayable))
    until(lambda: page.locator(".result video").evaluate("video => video.readyState") >= 2)
    source = page.locator(".result video").evaluate("video => video.src")
    assert source.endswith("/preview.mp4") and source.startswith("http://127.0.0.1")
    assert "small copy" in page.locator("figcaption").inner_text()


def test_a_verdict_stays_when_its_preview_cannot_be_reached(visit: Visit, unplayable: Path) -> None:
    page = visit()
    coming = {"preview": "coming", "seconds_per_window": None}
    asked: list[str] = []

    def answer(route: Any) -> None:
        asked.append(route.request.url)
        route.fulfill(json=coming) if len(asked) == 1 else route.abort()

    page.route("**/jobs/*/preview", answer)
    page.set_input_files("#file", str(unplayable))
    page.get_by_text("Your browser cannot play this file; the verdict is not affected.").wait_for()
    assert len(asked) == 4
    assert sentence(page).startswith("Cannot judge: the face is too blurred")


def test_a_removed_file_is_not_asked_about_any_more(visit: Visit, unplayable: Path) -> None:
    page = visit()
    asked: list[str] = []

    def answer(route: Any) -> None:
        asked.append(route.request.url)
        route.fulfill(json={"preview": "coming", "seconds_per_window": None})

    page.route("**/jobs/*/preview", answer)
    page.set_input_files("#file", str(unplayable))
    while len(asked) < 2:
        page.wait_for_timeout(50)
    said = page.locator("#announcer").inner_text()
    page.get_by_role("button", name="Remove old.avi").click()
    num_asked = len(asked)
    page.wait_for_timeout(1600)
    assert len(asked) <= num_asked + 1
    assert page.locator("#announcer").inner_text() == said and page.locator(".result").count() == 0


def test_a_picture_is_shown_with_its_box(visit: Visit, clips: Clips, tmp_path: Path) -> None:
    import cv2

    frame = np.ascontiguousarray(decode_clip(clips.pristine).frames.data[0][..., ::-1])
    cv2.imwrite(str(tmp_path / "face.png"), frame)
    page = visit()
    page.set_input_files("#file", str(tmp_path / "face.png"))
    page.locator(".result canvas[data-shown='1']").wait_for()
    assert page.locator(".result .stage img").get_attribute("alt") == "The picture that was judged: face.png"


def test_cancel_before_and_while_a_file_is_judged(visit: Visit, clip_path: Path) -> None:
    page = visit()
    page.route("**/v1/detect**", lambda _: None, times=1)  # never answered
    page.set_input_files("#file", str(clip_path))
    page.wait_for_timeout(300)
    page.get_by_role("button", name="Cancel still_portrait.mp4").click()
    assert "Canceled" in page.locator(".result .verdict-part").inner_text()
    page.get_by_role("button", name="Remove still_portrait.mp4").click()
    with page.expect_response(lambda answer: answer.request.method == "DELETE") as deleting:
        page.set_input_files("#file", str(clip_path))
        page.locator(".state", has_text="Reading").or_(page.locator(".state", has_text="Judging")).wait_for()
        page.get_by_role("button", name="Cancel still_portrait.mp4").click()
    assert deleting.value.status == 204
    job = deleting.value.url.rsplit("/", 1)[1]
    assert page.request.get(f"/v1/jobs/{job}").json()["state"] == "canceled"


def test_more_files_than_a_browser_has_connections_are_all_judged(visit: Visit, clips: Clips) -> None:
    page = visit()
    page.get_by_label("Windows").fill("1")
    files = [
        {"name": f"{number}.mp4", "mimeType": "video/mp4", "buffer": clips.pristine.read_bytes()}
        for number in range(9)
    ]
    page.set_input_files("#file", files)
    until(lambda: page.locator(".result .verdict", has_text="No sign").count() == 9)
