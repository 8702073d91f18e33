"""GPTQ-style weights: at the quantizer's levels, and nearer to the exact network than nearest ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from support import run_without_fusions

from deepfake_triton.export.quantization.batch_norm_folding import fold_batch_norms
from deepfake_triton.export.quantization.cross_layer_equalization import equalize_cross_layer
from deepfake_triton.export.quantization.gptq import quantize_columns, quantize_weights_gptq
from deepfake_triton.export.quantization.qdq import insert_qdq, weight_qmax
from deepfake_triton.export.quantization.quant_params import ConvQuantParams, QuantParams
from deepfake_triton.export.quantization.range_estimation import conv_quant_params, estimate_activation_ranges
from deepfake_triton.models.default_checkpoint import default_checkpoint
from deepfake_triton.models.onnx_export import export_onnx
from deepfake_triton.models.resnext import ResNeXt50
from deepfake_triton.models.runtimes.base import Feed
from deepfake_triton.preprocessing.faces import TrackedFaces

pytestmark = pytest.mark.compute

CALIBRATED, HELD_OUT = slice(0, 14), slice(14, 20)


@pytest.fixture(scope="module")
def images(tracked_clip: TrackedFaces) -> torch.Tensor:
    faces = torch.from_numpy(tracked_clip.faces[0].copy()).permute(0, 3, 1, 2).float()
    return faces / 127.5 - 1


@pytest.fixture(scope="module")
def backbone(images: torch.Tensor) -> ResNeXt50:
    own = default_checkpoint().extractor.backbone
    return fold_batch_norms(equalize_cross_layer(own, images[CALIBRATED]))


def test_folding_changes_no_answer(backbone: ResNeXt50, images: torch.Tensor) -> None:
    with torch.inference_mode():
        wanted = default_checkpoint().extractor.backbone(images[:4])
        got = backbone(images[:4])
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in backbone.modules())
    assert (wanted - got).abs().max() < 1e-4 * wanted.abs().max()


def test_gptq_weights_make_up_for_rounding(backbone: ResNeXt50, images: torch.Tensor, tmp_path: Path) -> None:
    plain = graph_of(backbone, tmp_path / "plain.onnx")
    params = estimate_activation_ranges(plain, [feed(images[CALIBRATED])])
    convolutions = conv_quant_params(plain, params)
    fitted = quantize_weights_gptq(backbone, images[CALIBRATED], convolutions, weight_qmax=weight_qmax())
    graph = graph_of(fitted, tmp_path / "fitted.onnx")
    errors = {}
    with torch.inference_mode():
        wanted = backbone(images[HELD_OUT]).numpy()
    for name, source in (("nearest", plain), ("fitted", graph)):
        model = onnx.load(source)
        output = insert_qdq(model, params)
        got = run_without_fusions(output, feed(images[HELD_OUT]))
        errors[name] = float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))
    assert errors["fitted"] < 0.75 * errors["nearest"], errors
    both = torch.cat([images[CALIBRATED], images[CALIBRATED].flip(3)])
    with torch.inference_mode():
        lost = backbone(both).numpy() - run_without_fusions(output, feed(both))
    assert np.abs(lost.mean(axis=0)).mean() < 0.3 * np.abs(lost).mean()
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in output.graph.initializer}
    for name, module in fitted.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            whole = constants[f"{name}.weight_quantized"].astype(np.float64)
            scale = constants[f"{name}.weight_scale"].reshape(-1, 1, 1, 1)
            assert np.abs(whole).max() == weight_qmax()
            weight = module.weight.detach().numpy()
            assert np.abs(whole * scale - weight).max() < 1e-3 * np.abs(weight).max(), name


def test_correlated_inputs_absorb_the_rounding_error() -> None:
    random = np.random.default_rng(0)
    common = random.standard_normal((500, 1))
    inputs = common + 0.1 * random.standard_normal((500, 150))  # more than one block of columns
    weights = random.standard_normal((1, 4, 150))
    inverse = np.linalg.inv(inputs.T @ inputs / 500 + 1e-6 * np.eye(150))[None]
    found = quantize_columns(weights, inverse, qmax=7)
    scale = np.abs(weights).max(axis=2, keepdims=True) / 7
    nearest = np.rint(weights / scale) * scale
    assert np.abs(found / scale - np.rint(found / scale)).max() < 1e-9
    assert np.array_equal(np.abs(found).max(axis=2, keepdims=True), 7 * scale)

    def error(candidate: np.ndarray) -> float:
        return float(np.square((candidate - weights) @ inputs.T).mean())

    assert error(found) < 0.3 * error(nearest)


def test_constant_images_leave_finite_weights(backbone: ResNeXt50) -> None:
    params = [ConvQuantParams(QuantParams(0.2), QuantParams(0.2))] * 53
    fitted = quantize_weights_gptq(backbone, torch.ones(1, 3, 112, 112), params, weight_qmax=127)
    assert all(bool(torch.isfinite(weights).all()) for weights in fitted.parameters())


def test_params_for_all_convolutions_are_required(backbone: ResNeXt50, images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="zip"):
        params = [ConvQuantParams(QuantParams(1.0), QuantParams(1.0))] * 52
        quantize_weights_gptq(backbone, images[:1], params, weight_qmax=127)


def graph_of(backbone: ResNeXt50, path: Path) -> Path:
    axes = {"x": {0: "N"}, "y": {0: "N"}}
    return export_onnx(
        backbone, (torch.zeros(2, 3, 112, 112),), path, inputs=["x"], outputs=["y"], dynamic_axes=axes
    )


def feed(images: torch.Tensor) -> Feed:
    return {"x": images.numpy()}
