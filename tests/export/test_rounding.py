"""Weights for INT8: on the quantiser's grid, and nearer to the exact network than nearest ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from support import run_without_fusions

from deepfake_triton.export.backbone import ResNeXt50
from deepfake_triton.export.default_checkpoint import default_checkpoint
from deepfake_triton.export.equalisation import equalised
from deepfake_triton.export.grid import Grid
from deepfake_triton.export.onnx_graphs import exported_graph
from deepfake_triton.export.quantisation import (
    _with_qdq,
    convolution_grids,
    highest_weight,
    int8_nodes,
    map_grids,
)
from deepfake_triton.export.rounding import Grids, _on_weight_grid, folded, rounded
from deepfake_triton.export.runners import Feed
from deepfake_triton.preprocessing.faces import TrackedFaces

FITTED, JUDGED = slice(0, 14), slice(14, 20)


@pytest.fixture(scope="module")
def pictures(tracked_clip: TrackedFaces) -> torch.Tensor:
    faces = torch.from_numpy(tracked_clip.faces[0].copy()).permute(0, 3, 1, 2).float()
    return faces / 127.5 - 1


@pytest.fixture(scope="module")
def backbone(pictures: torch.Tensor) -> ResNeXt50:
    own = default_checkpoint().extractor.backbone
    return folded(equalised(own, pictures[FITTED]))


def test_folding_changes_no_answer(backbone: ResNeXt50, pictures: torch.Tensor) -> None:
    with torch.inference_mode():
        wanted = default_checkpoint().extractor.backbone(pictures[:4])
        got = backbone(pictures[:4])
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in backbone.modules())
    assert (wanted - got).abs().max() < 1e-4 * wanted.abs().max()


def test_fitted_weights_make_up_for_rounding(
    backbone: ResNeXt50, pictures: torch.Tensor, tmp_path: Path
) -> None:
    plain = graph_of(backbone, tmp_path / "plain.onnx")
    grids = map_grids(plain, [feed(pictures[FITTED])])
    convolutions = convolution_grids(plain, grids)
    fitted = rounded(backbone, pictures[FITTED], convolutions, highest_weight())
    graph = graph_of(fitted, tmp_path / "fitted.onnx")
    errors = {}
    with torch.inference_mode():
        wanted = backbone(pictures[JUDGED]).numpy()
    for name, source in (("nearest", plain), ("fitted", graph)):
        model = onnx.load(source)
        names = [node.name for node in int8_nodes(model)]
        output = _with_qdq(model, grids, names, [])
        got = run_without_fusions(output, feed(pictures[JUDGED]))
        errors[name] = float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))
    assert errors["fitted"] < 0.75 * errors["nearest"], errors
    both = torch.cat([pictures[FITTED], pictures[FITTED].flip(3)])
    with torch.inference_mode():
        lost = backbone(both).numpy() - run_without_fusions(output, feed(both))
    assert np.abs(lost.mean(axis=0)).mean() < 0.3 * np.abs(lost).mean()
    constants = {each.name: numpy_helper.to_array(each) for each in output.graph.initializer}
    for name, module in fitted.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            whole = constants[f"{name}.weight_quantized"].astype(np.float64)
            step = constants[f"{name}.weight_scale"].reshape(-1, 1, 1, 1)
            assert np.abs(whole).max() == highest_weight()
            weight = module.weight.detach().numpy()
            assert np.abs(whole * step - weight).max() < 1e-3 * np.abs(weight).max(), name


def test_what_is_left_over_goes_into_weights_of_alike_inputs() -> None:
    random = np.random.default_rng(0)
    common = random.standard_normal((500, 1))
    inputs = common + 0.1 * random.standard_normal((500, 150))  # more than one block of columns
    weights = random.standard_normal((1, 4, 150))
    inverse = np.linalg.inv(inputs.T @ inputs / 500 + 1e-6 * np.eye(150))[None]
    found = _on_weight_grid(weights, inverse, 7)
    step = np.abs(weights).max(axis=2, keepdims=True) / 7
    nearest = np.rint(weights / step) * step
    assert np.abs(found / step - np.rint(found / step)).max() < 1e-9
    assert np.array_equal(np.abs(found).max(axis=2, keepdims=True), 7 * step)

    def error(candidate: np.ndarray) -> float:
        return float(np.square((candidate - weights) @ inputs.T).mean())

    assert error(found) < 0.3 * error(nearest)


def test_pictures_without_anything_on_them_leave_numbers(backbone: ResNeXt50) -> None:
    fitted = rounded(backbone, torch.ones(1, 3, 112, 112), [Grids(Grid(0.2), Grid(0.2))] * 53, 127)
    assert all(bool(torch.isfinite(weights).all()) for weights in fitted.parameters())


def test_as_many_grids_as_convolutions(backbone: ResNeXt50, pictures: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="zip"):
        rounded(backbone, pictures[:1], [Grids(Grid(1.0), Grid(1.0))] * 52, 127)


def graph_of(backbone: ResNeXt50, path: Path) -> Path:
    axes = {"x": {0: "N"}, "y": {0: "N"}}
    return exported_graph(backbone, (torch.zeros(2, 3, 112, 112),), ["x"], ["y"], axes, path)


def feed(pictures: torch.Tensor) -> Feed:
    return {"x": pictures.numpy()}
