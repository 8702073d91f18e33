"""The gate on labeled clips, with an engine that is made to differ by a known amount."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import backdrop, write_clip

from deepfake_triton.dataset_manifest import ManifestRow, write_manifest
from deepfake_triton.errors import ParityError
from deepfake_triton.export.options import PrecisionName
from deepfake_triton.export.parity.accuracy_gate import (
    measure_accuracy,
    read_gate_clips,
    require_accuracy,
)
from deepfake_triton.models.checkpoints.checkpoint import checkpoint_from_file
from deepfake_triton.models.runtimes.base import Feed, Runner
from deepfake_triton.models.runtimes.torch_runner import torch_stages
from deepfake_triton.models.stages import Stages
from deepfake_triton.preprocessing.video.clip import decode_clip
from deepfake_triton.repository.report_sections import GateReport

REPORT = GateReport("m.csv", 200, 0, 0.5, 0.95, 0.945, 0.01, 0.01, "clip.mp4", 0.2)


class Shifted:
    """A runner whose probabilities are those of another, and a little more."""

    def __init__(self, runner: Runner, by: float) -> None:
        self.runner, self.by = runner, by
        self.runtime = f"{runner.runtime}, shifted"

    def infer(self, feed: Feed) -> Feed:
        answer = self.runner.infer(feed)
        return {**answer, "fake_probability": answer["fake_probability"] + np.float32(self.by)}


def shifted(stages: Stages[Runner], by: float) -> Stages[Runner]:
    return replace(stages, classifier=Shifted(stages.classifier, by))


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


@pytest.mark.compute
def test_an_engine_is_compared_clip_by_clip(
    manifest: Path, published_checkpoint: Path, detector: Runner
) -> None:
    checkpoint = checkpoint_from_file(published_checkpoint)
    metadata = replace(checkpoint.metadata, operating_points={"balanced": 0.5})
    reference, clips = torch_stages(checkpoint, detector), read_gate_clips(manifest)
    unbalanced = replace(metadata, operating_points={"strict": 0.9, "default": 0.5})
    same = measure_accuracy(clips, unbalanced, reference=reference, exported=reference)
    assert same.threshold == 0.5, "the client's default, whichever operating point is named first"
    assert (same.clips, same.unused, same.flipped, same.worst_difference) == (4, 1, 0.0, 0.0)
    require_accuracy(same, "fp32")
    moved = measure_accuracy(clips, metadata, reference=reference, exported=shifted(reference, 0.125))
    assert moved.mean_difference == pytest.approx(0.125, abs=1e-6)
    assert moved.auc == same.auc and moved.worst_clip in {f"{index}.mp4" for index in range(4)}
    up, down = (
        measure_accuracy(clips, metadata, reference=reference, exported=shifted(reference, shift))
        for shift in (9.0, -9.0)
    )
    assert up.flipped + down.flipped == 1, "whatever is not over the border is under it"
    flipped = max(up, down, key=lambda report: report.flipped)
    with pytest.raises(ParityError, match=r"int8 flips .*\.mp4.*nothing was written"):
        require_accuracy(flipped, "int8")


@pytest.mark.fast
def test_the_limits_are_of_the_precision() -> None:
    require_accuracy(REPORT, "int8")
    exceeding: tuple[tuple[GateReport, PrecisionName], ...] = (
        (REPORT, "fp16"),
        (replace(REPORT, flipped=0.02), "int8"),
        (replace(REPORT, auc=0.93), "int8"),
    )
    for report, precision in exceeding:
        with pytest.raises(ParityError, match=r"worst: clip.mp4, by 0.200"):
            require_accuracy(report, precision)


@pytest.mark.compute
def test_one_label_alone_is_no_gate(
    *, manifest: Path, published_checkpoint: Path, detector: Runner, tmp_path: Path
) -> None:
    checkpoint = checkpoint_from_file(published_checkpoint)
    stages = torch_stages(checkpoint, detector)
    write_manifest(tmp_path / "m.csv", [ManifestRow("no.mp4", "real", "p", "s", "", "", "test")])
    with pytest.raises(ParityError, match="0 clips show a face, expected some of both labels"):
        measure_accuracy(
            read_gate_clips(tmp_path / "m.csv"), checkpoint.metadata, reference=stages, exported=stages
        )
