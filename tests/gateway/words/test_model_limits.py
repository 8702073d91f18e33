"""What the page says about the default weights, held against their model card."""

from __future__ import annotations

import json
import re

import pytest
from gateway_verdicts import model
from paths import ROOT

from deepfake_triton.gateway.words.sentences import model_limits
from deepfake_triton.gateway.words.texts import texts_for

pytestmark = pytest.mark.fast
CARD = " ".join((ROOT / "MODEL_CARD.md").read_text().split())
LIMITS = " ".join(model_limits(model("default"), texts_for("en")))


def test_the_share_of_missed_forgeries_is_the_measured_one() -> None:
    measured = re.search(r"- borders measured on: (\{.*?\}\})", CARD)
    assert measured is not None
    share = json.loads(measured[1])["fakes_called_real"][0]
    said = re.search(r"in its own test about 1 in (\d+) was called REAL", LIMITS)
    assert said is not None
    assert int(said[1]) == round(1 / share)


@pytest.mark.parametrize(
    ("said", "in_card"),
    [
        ("It judges faces only", "It evaluates faces only"),
        ("no voices, texts, bodies", "voices, text, bodies"),
        ("Mild changes to sharp portraits are often missed", "## Limitations .*self-blend: AUC"),
        (
            "real webcam videos have been called FAKE",
            r"webcam .{0,160} all real, .{0,200} [1-9]\d* of them (?:is|are) called FAKE",
        ),
        (
            "less reliable on strongly compressed, small or blurred",
            r"blur 1\.5 px \| .*## Limitations .*half scale, crf 32: .*h264 crf 40: ",
        ),
        (
            "from the USA, France and the United Kingdom",
            "People of the USA, France and the United Kingdom prevail",
        ),
        ("few elderly people and no children by intent", "few are over 65, and none are children by intent"),
        ("for any group of people was not measured", "for any group of people was not measured"),
    ],
)
def test_what_the_page_says_stands_in_the_card(said: str, in_card: str) -> None:
    assert said in LIMITS
    assert re.search(in_card, CARD)


def test_the_card_measured_no_weakness_that_the_page_leaves_out() -> None:
    """Each line of the card's limitations is covered by one of the page's words."""
    words = {
        **{"h264": "compressed", "half scale": "small", "blur": "blurred", "self-blend": "Mild changes"},
        "transfer-": "unlike those of the collections it learned from",
    }
    lines = re.findall(r"- ([\w .,-]+): AUC", CARD.split("## Limitations")[1])
    assert lines
    for line in lines:
        named = [said for start, said in words.items() if line.startswith(start)]
        assert named, f"{line}: say it in limits.* of the texts"
        assert named[0] in LIMITS
