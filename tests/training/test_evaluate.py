"""`deepfake-triton evaluate`: figures through a real server, and from scores whose figures are known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Portrait
from support import backdrop, pasted, write_clip

from deepfake_triton import cli
from deepfake_triton.manifest import ManifestRow, write_manifest
from deepfake_triton.preprocessing.quality import sharpness_of
from deepfake_triton.serving.server import TritonServer
from deepfake_triton.training.evaluate import ScoredClip, Scores, figures_of, jpeg_bytes_of
from deepfake_triton.training.evaluation_report import write_report
from deepfake_triton.training.variants import AS_IS, VARIANTS, Variant, worsened


def scored(index: int, label: int, probability: float | None, **changes: object) -> ScoredClip:
    clip = ScoredClip(
        path=f"{'fake' if label else 'real'}/{index}.mp4",
        label=label,
        identity=f"p{index}",
        source="s",
        manipulation="swap" if label else "",
        original=f"real/{index}.mp4" if label else "",
        variant=AS_IS,
        fake_probability=probability,
        sharpness=10.0 - label,
        jpeg_bytes=1000.0,
    )
    return replace(clip, **changes)  # type: ignore[arg-type]


def test_known_scores_give_known_figures(tmp_path: Path) -> None:
    clips = [scored(i, 0, p) for i, p in enumerate((0.1, 0.2, 0.6, None))]
    clips += [scored(i, 1, p) for i, p in enumerate((0.9, 0.1, 0.8, 0.7))]
    scores = Scores(tuple(clips), {"lost.mp4": "no such file"})
    figures = figures_of(scores, {"balanced": 0.5, "conservative": 0.75}, rounds=50)
    found = figures["variants"][AS_IS]
    above = [(f > r) + 0.5 * (f == r) for f in (0.9, 0.1, 0.8, 0.7) for r in (0.1, 0.2, 0.6, 0.5)]
    assert found["auc"]["value"] == pytest.approx(np.mean(above))
    assert found["inconclusive_share"] == 0.125
    assert found["pairs"] == {"pairs": 4, "fake_above_original": (1 + 0 + 1 + 0.5) / 4}
    assert found["rivals"]["sharpness"]["value"] == 1 and found["rivals"]["jpeg_bytes"]["value"] == 0.5
    balanced, conservative = found["decisions"]["balanced"], found["decisions"]["conservative"]
    assert balanced["recall"] == 0.75 and balanced["false_alarms"]["value"] == 0.5
    assert conservative["recall"] == 0.5 and conservative["false_alarms"]["value"] == 0
    assert figures["by_manipulation"]["swap"]["clips"] == 8
    write_report(tmp_path, scores, figures, {"model": "m"})
    assert {path.name for path in tmp_path.iterdir()} == {
        *("evaluation.json", "report.md", "roc.svg", "reliability.svg", "scores.svg"),
    }
    assert "lost.mp4: no such file" in (tmp_path / "report.md").read_text()


def test_the_rivals_see_blur() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (112, 112, 3)).astype(np.uint8)
    blurred = worsened(picture, Variant("b", 20, blur_px=2.0), 0)
    assert sharpness_of(blurred) < sharpness_of(picture)
    assert jpeg_bytes_of(blurred) < jpeg_bytes_of(picture)


def test_variants_do_what_their_names_say() -> None:
    picture = backdrop(100, 121)
    by_name = {variant.name: variant for variant in VARIANTS}
    assert worsened(picture, by_name["half scale"], 0).shape == (50, 60, 3)
    assert (worsened(picture, by_name["noise 8"], 0) != worsened(picture, by_name["noise 8"], 1)).any()
    assert (worsened(picture, by_name["h264 crf 32"], 0) == picture).all()


def test_evaluation_through_a_server(
    published_server: TritonServer, portrait: Portrait, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = []
    for index in range(4):
        scene = pasted(backdrop(240, 320), portrait.patch, 40 + 20 * index, 50)
        write_clip(tmp_path / f"{index}.mp4", [np.roll(scene, shift, axis=1) for shift in range(6)])
        label = "fake" if index % 2 else "real"
        original = f"{index - 1}.mp4" if index % 2 else ""
        rows.append(ManifestRow(f"{index}.mp4", label, f"p{index}", "s", "m" * (index % 2), original, "test"))  # type: ignore[arg-type]
    write_clip(tmp_path / "faceless.mp4", [backdrop(120, 160)] * 6)
    rows.append(ManifestRow("faceless.mp4", "real", "nobody", "s", "", "", "test"))
    write_manifest(tmp_path / "m.csv", rows)
    command = ["evaluate", str(tmp_path / "m.csv"), "--url", published_server.url, "--frames", "6"]
    assert cli.main([*command, "--output", str(tmp_path / "out"), "--normalise"]) == 0
    report = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert set(report["variants"]) == {AS_IS, *(variant.name for variant in VARIANTS)}
    assert report["variants"][AS_IS]["inconclusive_share"] == pytest.approx(0.2)
    assert report["variants"][AS_IS]["pairs"]["pairs"] == 2
    assert set(report["by_manipulation"]) == {"m"} and report["faults"] == {}
    assert "| h264 crf 32 |" in capsys.readouterr().out
    (tmp_path / "0.mp4").unlink()
    assert cli.main([*command, "--output", str(tmp_path / "out2"), "--no-degradations"]) == 1
    assert "0.mp4 (as it is)" in json.loads((tmp_path / "out2" / "evaluation.json").read_text())["faults"]


def test_no_rows_and_no_server_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_manifest(tmp_path / "m.csv", [ManifestRow("a.mp4", "real", "p", "s", "", "", "train")])
    command = ["evaluate", str(tmp_path / "m.csv"), "--url", "127.0.0.1:1", "--output", str(tmp_path / "o")]
    assert cli.main(command) == 1
    assert "no video in the split test" in capsys.readouterr().err
    assert cli.main([*command, "--split", "train"]) == 1
    assert "127.0.0.1:1" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
