"""The HTML report is one file that fetches nothing, runs nothing, and shows names as text."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from gateway_verdicts import model, person, verdict

from deepfake_triton.client.verdicts.verdict import VideoFailure
from deepfake_triton.gateway.report.entries import ReportEntry
from deepfake_triton.gateway.report.html_report import html_report
from deepfake_triton.gateway.report.presentation import shown
from deepfake_triton.gateway.words.texts import texts_for

pytestmark = pytest.mark.fast
T = texts_for("en")
HOSTILE = "<img src=x onerror=alert(1)>\"'&{{ 7*7 }}.mp4"


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def report() -> str:
    entries = [
        ReportEntry(
            HOSTILE, "ab" * 32, 0.0, verdict(person(0, [(3, 0.9), (30, 0.4)]), person(1, [(3, 0.1)])), 1536
        ),
        ReportEntry(
            "none.mp4", None, 0.0, VideoFailure("none.mp4", "NotAVideo", "none.mp4: <b>bad</b>", model())
        ),
    ]
    return html_report(entries, T, made_at=86_400.0)


def test_it_tells_file_hash_date_model_thresholds_and_windows() -> None:
    page = Page(report())
    for said in (
        HOSTILE, "ab" * 32, "1970-01-01 00:00:00", "1970-01-02 00:00:00 (UTC)", "f00d" * 16, "version 3",
        "Signs of manipulation at 0:03–0:04, person 1", "FAKE from 0.5, REAL up to 0.27", "1.5 kB",
        "balanced: REAL ≤ 0.27, FAKE ≥ 0.5", "0:30.0–0:31.0", "not a proof", T("limits.misses"),
        T("error.NotAVideo"), "none.mp4: <b>bad</b>", "Failed: 1.",
    ):  # fmt: skip
        assert said in page.text, said
    portraits = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert len(portraits) == 2 and all(str(uri).startswith("data:image/jpeg;base64,") for uri in portraits)
    bars = [a for tag, a in page.tags if tag == "rect" and str(a.get("class", "")).startswith("bar")]
    assert [bar["class"] for bar in bars] == ["bar fake", "bar uncertain", "bar real"]
    assert float(str(bars[1]["x"])) == pytest.approx(500)


def test_it_is_self_contained_and_runs_nothing() -> None:
    text = report()
    page = Page(text)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "b"})
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes), tag
        for name in ("src", "href"):
            assert str(attributes.get(name) or "#").startswith(("#", "data:"))
    assert not re.search(r"url\(|@import|https?://", text)
    assert "@media print" in text and "size: A4" in text and "prefers-color-scheme: dark" in text


def test_untrained_weights_show_no_probability() -> None:
    entry = ReportEntry("a.mp4", None, 0.0, verdict(person(0, [(0, 0.99)]), model=model("untrained")))
    page = Page(html_report([entry], T))
    assert "No verdict" in page.text and "0.99" not in page.text
    assert "No probability: the numbers of untrained weights mean nothing" in page.text
    assert "no face could be judged" not in page.text
    assert not any("scale" in str(attributes.get("class")) for _, attributes in page.tags)


def test_the_windows_of_a_person_lie_on_the_timeline_where_they_are_in_the_video() -> None:
    seen = shown(verdict(person(0, [(0, 0.2), (59, 0.9)])), T).persons[0]
    assert [window.left for window in seen.windows] == [0, pytest.approx(983.3, abs=0.1)]
    assert seen.windows[1].label == "0:59.0–1:00.0, person 1: signs of manipulation, probability of FAKE 0.90"
    assert seen.windows[1].reading == "fake" and seen.windows[0].reading == "real"
    assert "What lies between" in shown(verdict(person(0, [(0, 0.2)])), T).coverage
    assert "the whole video" in shown(verdict(person(0, [(0, 0.2)]), duration_seconds=1.0), T).coverage


def test_without_a_face_no_scale_is_explained_and_nothing_is_said_to_be_left_out() -> None:
    told = verdict(frames_decoded=30, duration_seconds=1.2)
    text = Page(html_report([ReportEntry("a.mp4", None, 0.0, told)], T, made_at=0.0)).text
    assert "Looked at: 30 frames of a video of 0:01." in text
    assert "No probability: no face could be judged." in text
    assert "0 = no sign" not in text and "was not looked at" not in text
