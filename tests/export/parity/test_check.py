from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from support import backdrop, write_clip

from deepfake_triton.errors import ParityError
from deepfake_triton.export import pipeline
from deepfake_triton.export.options import CheckpointWeights, ExportOptions, ParityOptions
from deepfake_triton.export.parity import sample as samples
from deepfake_triton.export.parity.check import require_parity
from deepfake_triton.export.parity.tolerances import TOLERANCES
from deepfake_triton.export.pipeline import export
from deepfake_triton.models.checkpoints.checkpoint import Checkpoint
from deepfake_triton.models.onnx_export import classifier_onnx_from_checkpoint
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.repository.report_sections import ParityCase, ParityReport


def report(**changes: Any) -> ParityReport:
    values: dict[str, Any] = {
        "precision": "fp32",
        "crops": "made",
        "num_crops": 1,
        "logit_spread": 10.0,
        "cases": (ParityCase(1, 1, 0.0, 0.0), ParityCase(7, 20, 0.009, 4e-4)),
        "detection_difference": 0.0,
        "detector_batch_difference_px": 0.0,
    }
    values |= changes
    limits = TOLERANCES[values["precision"]].parity_limits(values["logit_spread"])
    return ParityReport(**values, limits=limits)


@pytest.mark.fast
def test_the_limits() -> None:
    assert report().limits.logit == pytest.approx(0.01)
    assert report(logit_spread=0.2).limits.logit == pytest.approx(1e-3)
    require_parity(report())
    for change, says in (
        ({"cases": (ParityCase(2, 5, 0.011, 0.0),)}, "max_logit_difference .* batch 2, 5 frames"),
        ({"cases": (ParityCase(2, 5, 0.0, 6e-4),)}, "max_probability_difference"),
        (
            {"cases": (ParityCase(2, 5, float("nan"), 0.0), ParityCase(1, 1, 0.0, 0.0))},
            "max_logit_difference",
        ),
        ({"detector_batch_difference_px": 0.01}, "batch of frames"),
        ({"detection_difference": 0.01, "worst_frame": 7}, "detector's faces differ .* worst: frame 7"),
        ({"batch_probability_difference": 2e-4}, "a batch of clips moves probabilities by 2.00e-04"),
        ({"cases": (ParityCase(2, 5, 0.0, 6e-4, worst_crop=5),)}, "worst: the clip from crop 5 on, of made"),
    ):
        with pytest.raises(ParityError, match=says):
            require_parity(report(**change))


@pytest.mark.fast
def test_lower_precisions_are_judged_by_probability() -> None:
    for precision, difference in (("fp16", 5e-3), ("int8", 0.05)):
        cases = (ParityCase(1, 1, 3.0, difference),)
        require_parity(report(precision=precision, cases=cases))
        assert report(precision=precision).limits.logit is None
        with pytest.raises(ParityError, match="max_probability_difference"):
            require_parity(report(precision=precision, cases=(ParityCase(1, 1, 0.0, 4 * difference),)))


@pytest.mark.compute
def test_real_crops_of_the_demos_clip_are_the_default(detector: Runner) -> None:
    sample = samples.load_parity_sample(None, detector, CropRule())
    assert sample.source == "40 faces from still_portrait.mp4"
    assert sample.crops.shape == (40, 112, 112, 3) and sample.frames.shape[0] == 40


@pytest.mark.compute
def test_a_named_video_is_used_and_must_show_a_face(
    detector: Runner, two_people: Path, tmp_path: Path
) -> None:
    sample = samples.load_parity_sample(two_people, detector, CropRule(64))
    assert sample.crops.shape == (50, 64, 64, 3) and "two.mp4" in sample.source
    faceless = write_clip(tmp_path / "faceless.mp4", [backdrop(240, 320)] * 5)
    with pytest.raises(ParityError, match="no face"):
        samples.load_parity_sample(faceless, detector, CropRule())


@pytest.mark.compute
@pytest.mark.parametrize("missing", ["clip", "decoder"])
def test_without_any_video_pictures_are_made_and_the_report_says_so(
    detector: Runner, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    if missing == "clip":
        monkeypatch.setattr(samples, "demo_clip", lambda: None)
    else:
        monkeypatch.setitem(sys.modules, "av", None)
    sample = samples.load_parity_sample(None, detector, CropRule())
    assert "made in code" in sample.source
    assert len(np.unique(sample.crops.reshape(len(sample.crops), -1), axis=0)) == len(sample.crops) >= 20
    assert sample.crops.std(axis=(1, 2)).min() > 5


@pytest.mark.compute
def test_an_export_that_changes_verdicts_writes_nothing(
    *, published_checkpoint: Path, brief_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault is put into the real ONNX file: gates in ONNX's order instead of PyTorch's."""

    def with_swapped_gates(checkpoint: Checkpoint, path: Path) -> Path:
        model = onnx.load(classifier_onnx_from_checkpoint(checkpoint, path))
        (weights,) = [tensor for tensor in model.graph.initializer if 3 * 2048 in tensor.dims]
        axis = list(weights.dims).index(3 * 2048)
        enter, candidate, leave = np.split(numpy_helper.to_array(weights), 3, axis)
        swapped = np.concatenate([enter, leave, candidate], axis)
        weights.CopyFrom(numpy_helper.from_array(swapped, weights.name))
        onnx.save(model, str(path))
        return path

    monkeypatch.setattr(pipeline, "classifier_onnx_from_checkpoint", with_swapped_gates)
    with pytest.raises(ParityError, match="nothing was written"):
        export(
            ExportOptions(
                tmp_path / "repository",
                CheckpointWeights(published_checkpoint),
                parity=ParityOptions(brief_clip),
            )
        )
    assert list(tmp_path.iterdir()) == []
