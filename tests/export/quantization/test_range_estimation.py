"""Clipping ranges of activations whose best one is known by construction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from deepfake_triton.export.quantization.quant_params import QMIN
from deepfake_triton.export.quantization.range_estimation import (
    Histogram,
    choose_clipping_range,
    estimate_activation_ranges,
    widen_deep_ranges,
)
from deepfake_triton.models.onnx_export import export_onnx

pytestmark = pytest.mark.compute

FEEDS = [
    {"x": np.random.default_rng(seed).uniform(-1, 1, (4, 3, 16, 16)).astype(np.float32)} for seed in range(4)
]


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("net") / "net.onnx"
    axes = {"x": {0: "N"}, "y": {0: "N"}}
    module = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1)).eval()
    return export_onnx(
        module, (torch.zeros(1, 3, 16, 16),), path, inputs=["x"], outputs=["y"], dynamic_axes=axes
    )


def test_uniform_activations_are_not_clipped(net: Path) -> None:
    params = estimate_activation_ranges(net, FEEDS)["x"]
    assert 0.95 < params.clipping_limit < 1.01 and params.zero_point == 0


def test_the_range_covers_the_largest_batch(net: Path) -> None:
    larger = [FEEDS[0], {"x": 20 * FEEDS[1]["x"]}]
    assert 19 < estimate_activation_ranges(net, larger)["x"].clipping_limit < 20.1


@pytest.mark.parametrize(("levels", "zero_point"), [(127, 0), (255, QMIN)])
def test_an_outlier_is_clipped_where_rounding_costs_as_much(levels: int, zero_point: int) -> None:
    edges = np.linspace(0, 10, 2001, dtype=np.float32)
    counts = np.where(edges[1:] <= 1, 5000, 0)  # a million even values up to 1
    counts[-1] = 1  # a scale r / 127 loses its cube / 32 at each of them, the outlier (10 - r) cubed
    params = choose_clipping_range(Histogram(counts, edges), zero_point=zero_point)
    assert params.clipping_limit == pytest.approx(10 / (1 + (1e6 / 32) ** 0.5 / levels**1.5), rel=0.05)


def test_ranges_of_the_second_half_are_wider(net: Path) -> None:
    fitted = estimate_activation_ranges(net, FEEDS)
    widened = widen_deep_ranges(net, fitted, margin=3.0)
    ratios = {name: widened[name].clipping_limit / fitted[name].clipping_limit for name in fitted}
    assert ratios.pop("y") == pytest.approx(3.0)
    assert len(ratios) >= 2 and set(ratios.values()) == {1.0}
    assert all(widened[name].zero_point == fitted[name].zero_point for name in fitted)
