"""Plots that name axes, model, date and thresholds, in the words of the verdict."""

from __future__ import annotations

import datetime
import resource
from dataclasses import replace
from pathlib import Path

import cv2
import pytest

from deepfake_triton.client.rendering.colors import FAKE, REAL, UNSURE, hex_color
from deepfake_triton.client.rendering.formatting import verdict_text
from deepfake_triton.client.rendering.timeline_plot import plot_timeline
from deepfake_triton.client.verdicts.assembly import verdict_from_faces
from deepfake_triton.client.verdicts.quality_gate import EvidenceRule
from deepfake_triton.client.verdicts.verdict import FaceVerdict, Latency, ModelInfo, Segment, VideoVerdict
from deepfake_triton.errors import InputError, InvalidOption

pytestmark = pytest.mark.fast

MODEL = ModelInfo(
    "detector", "7", "custom", "ab" * 32, 0.5, operating_point_name="lenient", real_at_most=0.25
)
DAY = datetime.date(2031, 2, 3)


def judged(*probabilities: float, model: ModelInfo = MODEL, px: float = 50) -> VideoVerdict:
    faces = [
        FaceVerdict(track, p, 20, (Segment(0.5, 1.0, p),), (0, 0, 9, 9), px, 50)
        for track, p in enumerate(probabilities)
    ]
    return verdict_from_faces(
        "some/$clip_1$.mp4",
        faces,
        model,
        evidence=EvidenceRule(),
        frames_decoded=20,
        duration_seconds=2.0,
        latency_ms=Latency(1, 2, 3),
    )


def drawn(verdict: VideoVerdict, folder: Path) -> str:
    """The SVG, in which every text stands as a comment beside its outlines."""
    plot_timeline(verdict, folder / "plot.svg", DAY)
    return (folder / "plot.svg").read_text()


@pytest.mark.parametrize("probability", [0.125, 0.375, 0.875])
def test_a_plot_says_what_the_text_says(probability: float, tmp_path: Path) -> None:
    verdict = judged(probability)
    svg = drawn(verdict, tmp_path)
    headline = verdict_text(verdict).splitlines()[0].removeprefix("some/$clip_1$.mp4: ")
    assert "(lenient: REAL ≤ 0.25, FAKE ≥ 0.5)" in headline
    for text in ("$clip_1$.mp4", headline, "time in seconds", "of FAKE", "person 0", "2031-02-03"):
        assert text in svg, text
    assert "detector version 7, custom weights, sha256 abababababab" in svg
    color = {0.125: REAL, 0.375: UNSURE, 0.875: FAKE}[probability]
    assert svg.count(f"stroke: {hex_color(color)}; stroke-width: 4") >= 1
    assert svg == drawn(verdict, tmp_path), "the same plot twice"


def test_what_could_not_be_judged_is_not_drawn_as_a_verdict(tmp_path: Path) -> None:
    svg = drawn(judged(0.875, px=5), tmp_path)
    assert "not judged: 1 face (face_too_small)" in svg
    assert f"stroke: {hex_color(FAKE)}; stroke-width: 4" not in svg
    assert "no face was found" in drawn(judged(), tmp_path)
    assert "means nothing" in drawn(judged(0.1, model=replace(MODEL, weights="untrained")), tmp_path)


def test_another_kind_of_file_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match=r"expected \.png or \.svg"):
        plot_timeline(judged(0.1), tmp_path / "plot.pdf")
    assert not list(tmp_path.iterdir())


def test_a_long_name_fits_into_the_picture(tmp_path: Path) -> None:
    plot_timeline(replace(judged(0.1), video="W" * 300 + ".mp4"), tmp_path / "plot.png", DAY)
    image = cv2.imread(str(tmp_path / "plot.png"))
    assert image.shape[1] == 900 and (image[:, [0, -1]] == 255).all(), "nothing is cut by the edge"


def test_a_plot_that_fails_leaves_the_earlier_one(tmp_path: Path) -> None:
    (tmp_path / "real.png").write_bytes(b"earlier")
    (tmp_path / "plot.png").symlink_to("real.png")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(InputError, match=r"plot\.png: cannot be written: File too large"):
            plot_timeline(judged(0.5), tmp_path / "plot.png")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "real.png").read_bytes() == b"earlier" and len(list(tmp_path.iterdir())) == 2
    plot_timeline(judged(0.5), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").is_symlink() and (tmp_path / "real.png").stat().st_size > 1000
