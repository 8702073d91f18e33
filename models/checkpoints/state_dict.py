"""Clean a state_dict: strip wrapper prefixes, pick one network, refuse weights that cannot be run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from deepfake_triton.errors import CheckpointError
from deepfake_triton.models.checkpoints.weights_file import QUANTIZED_ADVICE

_log = logging.getLogger(__name__)

# Added to parameter names by DistributedDataParallel, torch.compile, FSDP and activation checkpointing.
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"}
# First convolution of the published layout, and of this project's.
_ANCHORS = ("model.0.weight", "backbone.conv1.weight")
_AVERAGED = ("ema", "swa", "averaged", "shadow")
# Keys that bitsandbytes, GPTQ, AWQ and torch.ao store beside packed weights.
_PACKED = ("qweight", "qzeros", "SCB", "absmax", "quant_map", "weight_scale", "_packed_params", "scale_inv")


def clean_state_dict(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the float32 weights of one network, without the prefixes that wrappers add to their keys.

    Of several networks in one file the plain one is preferred to an averaged one (EMA), with a logged
    warning. A state_dict without a known first convolution keeps its keys. Raises CheckpointError for weights
    that are quantized, empty, or not finite.
    """
    bare: dict[str, Tensor] = {}
    for key, value in state.items():
        name = ".".join(part for part in key.split(".") if part not in _WRAPPERS)
        if name in bare and bare[name] is not value:
            raise CheckpointError(
                f"two weights are named {name} once wrappers' prefixes are off, one is {key}"
            )
        bare[name] = value
    prefixes = _prefixes(bare)
    if not prefixes:
        for key, value in bare.items():
            _refuse_quantized(key, value)
        return bare
    chosen = prefixes[0]
    if len(prefixes) > 1:
        held = ", ".join(repr(prefix.rstrip(".") or "top level") for prefix in prefixes)
        _log.warning("%s holds several networks: %s; the first is taken", path, held)
    own = {key.removeprefix(chosen): value for key, value in bare.items() if key.startswith(chosen)}
    return {key: _to_float32(key, value) for key, value in own.items() if _is_weight(key)}


def _prefixes(state: Mapping[str, Tensor]) -> list[str]:
    """Return the prefixes before a known first convolution, the likeliest first."""
    found = {
        key.removesuffix(anchor)
        for key in state
        for anchor in _ANCHORS
        if key == anchor or key.endswith("." + anchor)
    }
    return sorted(found, key=lambda prefix: (any(word in prefix for word in _AVERAGED), len(prefix), prefix))


def _is_weight(key: str) -> bool:
    return key.startswith(("model.", "backbone.", "lstm.", "linear1."))


def _to_float32(key: str, value: Tensor) -> Tensor:
    """Return the weight as float32. Raises CheckpointError when no network can run on it."""
    _refuse_quantized(key, value)
    if not (value.dtype.is_floating_point or key.endswith("num_batches_tracked")):
        raise CheckpointError(
            f"{key}: got {value.dtype}, expected floating point; of quantized weights, {QUANTIZED_ADVICE}"
        )
    if value.is_meta or value.layout is not torch.strided:
        kind = "no values (a meta tensor)" if value.is_meta else f"a sparse tensor ({value.layout})"
        raise CheckpointError(
            f"{key}: got {kind}, expected dense weights: save them again after loading them"
        )
    if not value.numel():
        raise CheckpointError(
            f"{key}: got an empty tensor {list(value.shape)}: save the checkpoint again, of the whole model"
        )
    weights = value.float()
    bad = int((~torch.isfinite(weights)).sum())
    if bad:
        kind = "NaN" if bool(torch.isnan(weights).any()) else "infinite in float32"
        raise CheckpointError(
            f"{key}: {bad} of {weights.numel()} values are {kind}: training has diverged, or the file is "
            "damaged; export an earlier checkpoint"
        )
    return weights


def _refuse_quantized(key: str, value: Tensor) -> None:
    packed = any(part.startswith(_PACKED) for part in key.split("."))
    float8 = value.dtype.is_floating_point and value.dtype.itemsize == 1
    if value.is_quantized or packed or float8:
        kind = str(value.dtype).removeprefix("torch.")
        raise CheckpointError(f"{key}: holds quantized weights ({kind}): {QUANTIZED_ADVICE}")
