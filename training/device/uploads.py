"""Copies to the device that nothing waits for."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def upload(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    """Return the array as a tensor on `device`; on a GPU it arrives before what is launched next uses it.

    Copies from memory that is not pinned would wait for all that the GPU still has to do.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if device.type != "cuda" or not tensor.numel():
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
