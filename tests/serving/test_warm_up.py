"""Which shapes a graph has met before its model is ready, against what clients then send."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from deepfake_triton import contracts
from deepfake_triton.contracts import DEFAULT_DETECTOR_SIZE, DEFAULT_FRAMES, MAX_FRAME_SIDE, ModelSpec
from deepfake_triton.export.repository.configs import step_config
from deepfake_triton.models.detectors.centerface_graph import SIDE_MULTIPLE
from deepfake_triton.preprocessing.decoding.scaling import scaled_size
from deepfake_triton.serving.graph_limits import GraphLimits
from deepfake_triton.serving.warm_up import InputSpec, warm_feeds

pytestmark = pytest.mark.fast

VIDEOS = {
    "16:9": (1920, 1080), "4:3": (640, 480), "9:16": (1080, 1920), "3:4": (1200, 1600), "2.39:1": (2048, 858),
    "2.35:1": (1920, 816), "2:1": (2000, 1000), "1.85:1": (1998, 1080), "20:9 upright": (1080, 2400),
    "21:9": (2560, 1080), "3:2": (1500, 1000), "16:10": (1920, 1200), "1:1": (1080, 1080),
    "4:5": (1080, 1350), "CIF": (352, 288), "7:6": (700, 600), "8:7": (640, 560), "3.2:1": (1600, 500),
    "5:4": (1280, 1024), "18:9 upright": (1080, 2160), "small": (320, 180),
}  # fmt: skip


def inputs(spec: ModelSpec) -> list[InputSpec]:
    return [
        InputSpec(tensor.name, tuple(-1 if size is None else size for size in tensor.shape), tensor.dtype)
        for tensor in spec.inputs
    ]


def limits(spec: ModelSpec) -> GraphLimits:
    """The bounds that the export writes, as the backend reads them."""
    found = {key: int(value.string_value) for key, value in step_config(spec, [1]).parameters.items()}
    return GraphLimits(**{key.removeprefix("max_"): value for key, value in found.items()})


def warm_shapes(spec: ModelSpec, *, compiles_shapes: bool) -> Counter[tuple[int, ...]]:
    feeds = list(warm_feeds(inputs(spec), limits(spec), compiles_shapes=compiles_shapes))
    for feed in feeds:
        assert [tensor.dtype for tensor in feed] == [tensor.dtype for tensor in spec.inputs]
    return Counter(feed[0].shape for feed in feeds)


def detector_picture(height: int, width: int) -> tuple[int, int]:
    """Height and width that the detector's network computes, as its graph scales and pads a frame."""
    longest = max(height, width)
    scaled = [(side * DEFAULT_DETECTOR_SIZE + longest // 2) // longest for side in (height, width)]
    rows, columns = (-(-side // SIDE_MULTIPLE) * SIDE_MULTIPLE for side in scaled)
    return rows, columns


@pytest.mark.parametrize("video", VIDEOS)
def test_the_runs_of_a_usual_video_are_not_the_first_of_their_shape(video: str) -> None:
    width, height = scaled_size(VIDEOS[video], Fraction(1), MAX_FRAME_SIDE)
    spec = contracts.face_detector()
    prepared = {(rows, detector_picture(*size)) for rows, *size, _ in warm_shapes(spec, compiles_shapes=True)}
    clip = [np.zeros((DEFAULT_FRAMES, height, width, 3), np.uint8)]
    for rows in limits(spec).pieces(clip):
        assert (rows.stop - rows.start, detector_picture(height, width)) in prepared


def test_each_shape_is_computed_once_and_no_run_is_larger_than_allowed() -> None:
    for spec in (contracts.face_detector(), contracts.feature_extractor(), contracts.sequence_classifier()):
        bounds = limits(spec)
        for shape, times in warm_shapes(spec, compiles_shapes=True).items():
            assert times == 1
            assert not bounds.run_elements or np.prod(shape) <= bounds.run_elements
            assert not bounds.run_rows or shape[0] <= bounds.run_rows


def test_a_runtime_that_compiles_no_shapes_meets_the_typical_one_alone() -> None:
    assert set(warm_shapes(contracts.face_detector(), compiles_shapes=False)) == {
        (8, *contracts.TYPICAL_FRAME_HW, 3),
        (4, *contracts.TYPICAL_FRAME_HW, 3),
    }


def test_tracks_are_those_through_a_clip_where_shapes_are_compiled() -> None:
    crops, features = contracts.feature_extractor(), contracts.sequence_classifier()
    assert set(warm_shapes(crops, compiles_shapes=True)) == {(1, DEFAULT_FRAMES, 112, 112, 3)}
    assert set(warm_shapes(features, compiles_shapes=True)) == {(1, DEFAULT_FRAMES, contracts.FEATURE_SIZE)}
    assert not warm_shapes(crops, compiles_shapes=False)


def test_an_input_of_another_graph_gets_a_shape_too() -> None:
    spec = InputSpec("volume", (-1, -1, 5), np.dtype(np.int64))
    assert spec.zeros(3).shape == (3, DEFAULT_FRAMES, 1, 5) and not spec.zeros(3).any()
