"""Names of wrapped weights, and weights that no network can run on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from deepfake_triton.errors import CheckpointError
from deepfake_triton.models.checkpoints.state_dict import clean_state_dict

pytestmark = pytest.mark.fast

PATH = Path("given.pt")
PUBLISHED = {
    "model.0.weight": torch.ones(2),
    "lstm.weight_ih_l0": torch.ones(3),
    "linear1.bias": torch.ones(4),
}
OWN = {"backbone.conv1.weight": torch.ones(2), "lstm.weight_ih_l0": torch.ones(3)}


@pytest.mark.parametrize("state", [PUBLISHED, OWN], ids=["published", "own"])
@pytest.mark.parametrize(
    "prefix",
    ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "module.module.", "net.",
     "model.", "net.module._orig_mod.", "state_dict.model.", "model_state_dict.module.", "ema.",
     "params.", "models.0.", "_fsdp_wrapped_module.", "student.net."],
)  # fmt: skip
def test_prefixes_go_until_none_is_left(state: dict[str, torch.Tensor], prefix: str) -> None:
    found = clean_state_dict({f"{prefix}{key}": value for key, value in state.items()}, PATH)
    assert {key: value.tolist() for key, value in found.items()} == {
        key: value.tolist() for key, value in state.items()
    }


def test_wrappers_of_single_parts_go_too() -> None:
    state = {"model.module.0.weight": torch.ones(2), "lstm._orig_mod.weight_ih_l0": torch.ones(3)}
    assert list(clean_state_dict(state, PATH)) == ["model.0.weight", "lstm.weight_ih_l0"]


def test_what_belongs_to_no_network_is_left_out() -> None:
    state = {f"model.{key}": value for key, value in PUBLISHED.items()}
    optimizer = {"optimizer.state.0.exp_avg": torch.tensor([float("nan")]), "epoch": torch.tensor(3)}
    assert (
        clean_state_dict({**optimizer, **state, "loss.weight": torch.ones(1)}, PATH).keys()
        == PUBLISHED.keys()
    )


def test_of_two_networks_the_plain_one_is_taken_and_a_warning_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    state = {f"ema.{key}": value * 2 for key, value in OWN.items()}
    state |= {f"model.{key}": value for key, value in OWN.items()}
    assert clean_state_dict(state, PATH)["backbone.conv1.weight"].tolist() == [1, 1]
    assert "given.pt holds several networks: 'model', 'ema'; the first is taken" in caplog.text


def quantized(dtype: torch.dtype) -> torch.Tensor:
    """As torch.quantize_per_tensor makes them, without its warning."""
    return torch._empty_affine_quantized([2], scale=0.1, zero_point=0, dtype=dtype)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"model.0.weight": quantized(torch.quint8)},
            r"model\.0\.weight: holds quantized weights \(quint8\)",
        ),
        ({"model.0.weight": quantized(torch.qint8)}, r"quantized weights \(qint8\): export the FP32"),
        ({"model.0.weight": torch.ones(2).to(torch.float8_e4m3fn)}, r"quantized weights \(float8_e4m3fn\)"),
        ({"model.0.weight": torch.ones(2, dtype=torch.int8)}, r"got torch.int8, expected floating point"),
        ({"linear1.qweight": torch.ones(2, dtype=torch.int32)}, r"linear1\.qweight: holds quantized"),
        ({"linear1.SCB": torch.ones(2)}, r"linear1\.SCB: holds quantized"),
        ({"linear1._packed_params._packed_params.0": torch.ones(2)}, "holds quantized"),
        ({"linear1.bias": torch.ones(0)}, r"linear1\.bias: got an empty tensor \[0\]"),
        ({"linear1.bias": torch.ones(2, device="meta")}, r"linear1\.bias: got no values"),
        ({"linear1.bias": torch.ones(2).to_sparse()}, "got a sparse tensor"),
        ({"linear1.bias": torch.tensor([1, float("nan"), 2])}, r"linear1\.bias: 1 of 3 values are NaN"),
        ({"linear1.bias": torch.tensor([1, float("-inf")])}, "1 of 2 values are infinite"),
        (
            {"linear1.bias": torch.tensor([1e300], dtype=torch.float64)},
            "1 of 1 values are infinite in float32",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_weights_that_cannot_be_run_on_are_named(change: dict[str, torch.Tensor], says: str) -> None:
    state = {f"module.net.{key}": value for key, value in {**PUBLISHED, **change}.items()}
    with pytest.raises(CheckpointError, match=says):
        clean_state_dict(state, PATH)


def test_quantized_weights_of_an_unknown_layout_are_named_too() -> None:
    with pytest.raises(CheckpointError, match="quantized"):
        clean_state_dict({"conv.qweight": torch.ones(2, dtype=torch.int32)}, PATH)


def test_two_weights_of_one_name_are_refused() -> None:
    with pytest.raises(CheckpointError, match=r"two weights are named model\.0\.weight"):
        clean_state_dict({"model.0.weight": torch.ones(2), "module.model.0.weight": torch.zeros(2)}, PATH)
