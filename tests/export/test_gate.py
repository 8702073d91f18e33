"""The gate on labelled clips, with an engine that is made to differ by a known amount."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import backdrop, write_clip

from deepfake_triton.errors import ParityError
from deepfake_triton.export.checkpoint import checkpoint_from_file
from deepfake_triton.export.gate import EnginePath, GateReport, check_gate
from deepfake_triton.export.runners import Feed, Runner, TorchRunner
from deepfake_triton.manifest import ManifestRow, write_manifest
from deepfake_triton.preprocessing.video import decode_clip

REPORT = GateReport("m.csv", 200, 0, 0.5, 0.95, 0.945, 0.01, 0.01, "clip.mp4", 0.2)


class Shifted:
    """A runner whose probabilities are those of another, and a little more."""

    def __init__(self, runner: Runner, by: float) -> None:
        self.runner, self.by = runner, by
        self.runtime = f"{runner.runtime}, shifted"

    def infer(self, feed: Feed) -> Feed:
        answer = self.runner.infer(feed)
        return {**answer, "fake_probability": answer["fake_probability"] + np.float32(self.by)}


@pytest.fixture(scope="module")
def manifest(clip_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of one face, called real and fake by turns, one of them without a face."""
    folder = tmp_path_factory.mktemp("gate")
    frames = decode_clip(clip_path).frames.data
    frames = frames[:, : frames.shape[1] // 2 * 2, : frames.shape[2] // 2 * 2]  # as the codec wants them
    rows = []
    for index in range(4):
        name, label = f"{index}.mp4", "fake" if index % 2 else "real"
        write_clip(folder / name, list(np.roll(frames[index : index + 5], 8 * index, axis=2)))
        rows.append(ManifestRow(name, label, f"p{index}", "s", "", "", "test"))  # type: ignore[arg-type]
    write_clip(folder / "none.mp4", [backdrop(200, 240)] * 5)
    rows.append(ManifestRow("none.mp4", "real", "p9", "s", "", "", "test"))
    write_manifest(folder / "m.csv", rows)
    return folder / "m.csv"


def test_an_engine_is_compared_clip_by_clip(
    manifest: Path, published_checkpoint: Path, detector: Runner
) -> None:
    checkpoint = checkpoint_from_file(published_checkpoint)
    facts = replace(checkpoint.facts, operating_points={"balanced": 0.5})
    torch_runner = TorchRunner(checkpoint)
    reference = EnginePath(detector, torch_runner)
    same = check_gate(manifest, facts, reference, reference)
    assert (same.clips, same.unused, same.flipped, same.worst_difference) == (4, 1, 0.0, 0.0)
    same.require_passed("fp32")
    moved = check_gate(manifest, facts, reference, EnginePath(detector, Shifted(torch_runner, 0.125)))
    assert moved.mean_difference == pytest.approx(0.125, abs=1e-6)
    assert moved.auc == same.auc and moved.worst_clip in {f"{index}.mp4" for index in range(4)}
    flipped = check_gate(manifest, facts, reference, EnginePath(detector, Shifted(torch_runner, 9.0)))
    assert flipped.flipped > 0
    with pytest.raises(ParityError, match=r"int8 flips .*\.mp4.*nothing was written"):
        flipped.require_passed("int8")


def test_the_limits_are_of_the_precision() -> None:
    REPORT.require_passed("int8")
    for report, precision in (
        (REPORT, "fp16"),
        (replace(REPORT, flipped=0.02), "int8"),
        (replace(REPORT, auc=0.93), "int8"),
    ):
        with pytest.raises(ParityError, match=r"worst: clip.mp4, by 0.200"):
            report.require_passed(precision)  # type: ignore[arg-type]


def test_one_label_alone_is_no_gate(
    manifest: Path, published_checkpoint: Path, detector: Runner, tmp_path: Path
) -> None:
    checkpoint = checkpoint_from_file(published_checkpoint)
    path = EnginePath(detector, TorchRunner(checkpoint))
    write_manifest(tmp_path / "m.csv", [ManifestRow("no.mp4", "real", "p", "s", "", "", "test")])
    with pytest.raises(ParityError, match="0 clips show a face, expected some of both labels"):
        check_gate(tmp_path / "m.csv", checkpoint.facts, path, path)
