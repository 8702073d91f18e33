"""NVIDIA GPUs of this host, and memory that they copy from quickly; by the driver and the runtime alone."""

from __future__ import annotations

import ctypes
import mmap
import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_RUNTIMES = ("libcudart.so.13", "libcudart.so.12")
_MAJOR, _MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of the CUDA driver."""


@dataclass(frozen=True)
class Gpu:
    """A GPU, or a MIG slice of one, by the driver's name, such as `NVIDIA L4`, and compute capability, such
    as `8.9`."""

    name: str
    compute_capability: str


def first_gpu() -> Gpu | None:
    """Return the first GPU that CUDA may use here; None without one.

    Calls the driver (cuDeviceGetAttribute), because the serving container has no torch.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, part = ctypes.c_int(), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0):
        return None
    parts = []
    for attribute in (_MAJOR, _MINOR):
        if driver.cuDeviceGetAttribute(ctypes.byref(part), attribute, device):
            return None
        parts.append(str(part.value))
    name = ctypes.create_string_buffer(256)
    if driver.cuDeviceGetName(name, len(name), device):
        return None
    return Gpu(name.value.decode(errors="replace"), ".".join(parts))


def gpu_count() -> int:
    """Return the number of GPUs that CUDA may use here, which `CUDA_VISIBLE_DEVICES` can hide; 0 without a
    driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


class PinnedBuffer:
    """Host memory of a size that grows, page-locked where this process has loaded a CUDA runtime.

    From pageable memory, a GPU copies at a fraction of the speed of its bus. What cannot be locked is used as
    it is.
    """

    def __init__(self) -> None:
        self._runtime = _loaded_runtime()
        self._memory: mmap.mmap | None = None
        self._bytes: npt.NDArray[np.uint8] = np.empty(0, np.uint8)
        self._is_locked = False

    def array(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
        """Return an array over the start of the buffer, with the values of whatever was there."""
        kind = np.dtype(dtype)
        size = int(np.prod(shape)) * kind.itemsize
        if size > self._bytes.size:
            self._grow(1 << (size - 1).bit_length())
        return self._bytes[:size].view(kind).reshape(shape)

    def _grow(self, size: int) -> None:
        self._unlock()
        self._memory = mmap.mmap(-1, size)
        self._bytes = np.frombuffer(self._memory, np.uint8)
        if self._runtime is not None:
            address = ctypes.c_void_p(self._bytes.ctypes.data)
            self._is_locked = not self._runtime.cudaHostRegister(address, ctypes.c_size_t(size), 0)

    def _unlock(self) -> None:
        if self._is_locked and self._runtime is not None:
            self._runtime.cudaHostUnregister(ctypes.c_void_p(self._bytes.ctypes.data))
            self._is_locked = False


def _loaded_runtime() -> ctypes.CDLL | None:
    """Return the CUDA runtime that this process has loaded already, so that both share a context."""
    for name in _RUNTIMES:
        try:
            return ctypes.CDLL(name, mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
        except OSError:
            continue
    return None
