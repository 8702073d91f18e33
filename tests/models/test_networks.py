"""Each deviation of the published checkpoint from common practice, against the published code itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import PublishedModel

from deepfake_triton.models.checkpoints.checkpoint import checkpoint_from_file
from deepfake_triton.models.metadata_overrides import MetadataOverrides
from deepfake_triton.models.networks import SequenceClassifier, simplify_for_export
from deepfake_triton.preprocessing.faces import TrackedFaces

pytestmark = pytest.mark.compute


def answers(path: Path, faces: np.ndarray, **overrides: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Our networks on one video's crops: features, logits (real, fake), probability of FAKE."""
    checkpoint = checkpoint_from_file(path, MetadataOverrides(**overrides))
    with torch.inference_mode():
        features = checkpoint.extractor(torch.from_numpy(faces[None]))
        logits, probability = simplify_for_export(checkpoint.classifier)(features)
    return features[0].numpy(), logits[0].numpy(), probability[0].numpy()


@pytest.mark.parametrize("pooling", ["last", "mean"])
@pytest.mark.parametrize("frames", [1, 5, 20])
def test_agrees_with_the_published_code(
    published_model: PublishedModel,
    published_checkpoint: Path,
    *,
    tracked_clip: TrackedFaces,
    pooling: str,
    frames: int,
) -> None:
    faces = tracked_clip.faces[0][:frames]
    expected_features, expected_logits = published_model.predict(faces, pooling)
    features, logits, probability = answers(published_checkpoint, faces, pooling=pooling)
    assert np.abs(features - expected_features).max() < 1e-4 * np.ptp(expected_features)
    assert np.abs(logits - expected_logits).max() < 1e-3
    softmax = np.exp(expected_logits) / np.exp(expected_logits).sum()
    assert probability[0] == pytest.approx(softmax[1], abs=1e-4)


def test_the_weights_are_lively(published_model: PublishedModel, tracked_clip: TrackedFaces) -> None:
    """Else agreement would prove nothing: frames of one clip differ by far more than the tolerance."""
    logits = np.stack([published_model.predict(face[None])[1] for face in tracked_clip.faces[0]])
    assert np.ptp(logits, axis=0).min() > 2
    assert (logits[:, 0] > logits[:, 1]).any() and (logits[:, 0] < logits[:, 1]).any()


@pytest.mark.parametrize(
    "changed",
    [
        {"temporal": "sequence"},
        {"pooling": "mean"},
        {"label_order": "real-fake"},
        {"channel_order": "rgb"},
        {"mean": (0.406, 0.456, 0.485)},
        {"std": (0.5, 0.5, 0.5)},
    ],
    ids=str,
)
def test_every_deviation_changes_the_answer(
    published_checkpoint: Path, tracked_clip: TrackedFaces, changed: dict[str, object]
) -> None:
    faces = tracked_clip.faces[0]
    default, other = (
        answers(published_checkpoint, faces)[1],
        answers(published_checkpoint, faces, **changed)[1],
    )
    assert np.abs(default - other).max() > 0.01


def test_a_per_frame_network_keeps_no_recurrent_half(published_checkpoint: Path) -> None:
    classifier = checkpoint_from_file(published_checkpoint).classifier
    slim = simplify_for_export(classifier)
    sizes = {name: tuple(p.shape) for name, p in slim.named_parameters()}
    assert sizes["lstm.gates.0.weight"] == (3 * 2048, 2048)  # no forget gate
    assert not any("weight_hh" in name for name in sizes)
    assert sum(p.numel() for p in slim.parameters()) < 0.4 * sum(p.numel() for p in classifier.parameters())


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
def test_one_step_gates_equal_the_lstm(published_checkpoint: Path, layers: int, bias: bool) -> None:
    metadata = checkpoint_from_file(published_checkpoint, MetadataOverrides(pooling="mean")).metadata
    torch.manual_seed(0)
    lstm = torch.nn.LSTM(2048, 32, layers, bias=bias, batch_first=True)
    full = SequenceClassifier(lstm, torch.nn.Linear(32, 2), metadata).eval()
    features = torch.randn(3, 4, 2048)
    with torch.inference_mode():
        for got, expected in zip(simplify_for_export(full)(features), full(features), strict=True):
            torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)
