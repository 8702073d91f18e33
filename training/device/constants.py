"""Constant tensors, copied to each device once: a copy in every batch would wait for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor


def per_device(make: Callable[[], Tensor]) -> Callable[[torch.device], Tensor]:
    """Return a function that gives the tensor of `make` on a device."""

    @lru_cache(maxsize=8)
    def on_device(device: torch.device) -> Tensor:
        # Also used outside inference mode, should its first use be inside.
        with torch.inference_mode(mode=False):
            return make().to(device)

    return on_device
