"""The networks of a repository with rows for each, with and without their weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepfake_triton.benchmarks.measure.networks import load_graphs, load_networks
from deepfake_triton.client import FrameBatch
from deepfake_triton.contracts import DEFAULT_FRAMES
from deepfake_triton.models.runtimes.onnx_runner import OnnxRunner

pytestmark = pytest.mark.compute


def test_graphs_get_the_faces_in_the_frames_and_the_features_of_these(
    default_repository: Path, clip_frames: FrameBatch
) -> None:
    frames = clip_frames.data[:3]
    detector, extractor, classifier = load_graphs(default_repository, frames)
    assert [network.module for network in (detector, extractor, classifier)] == [None] * 3
    crops = extractor.feed(DEFAULT_FRAMES)[extractor.input]
    assert np.array_equal(detector.feed(3)[detector.input], frames)
    assert crops.shape[:2] == (DEFAULT_FRAMES, 1) and np.array_equal(crops[0], crops[3]), "faces repeat"
    features = OnnxRunner(extractor.graph).infer(extractor.feed(DEFAULT_FRAMES))[extractor.output]
    assert np.allclose(classifier.feed(1)[classifier.input][0], features[:, 0], atol=1e-4)


def test_modules_answer_the_same_rows_as_their_graphs(
    default_repository: Path, clip_frames: FrameBatch
) -> None:
    networks = load_networks(default_repository, None, frames=clip_frames.data[:2])
    given = load_graphs(default_repository, clip_frames.data[:2])
    for network, graph in zip(networks, given, strict=True):
        assert network.module is not None and network.graph == graph.graph
        assert np.array_equal(network.feed(1)[network.input], graph.feed(1)[graph.input])
