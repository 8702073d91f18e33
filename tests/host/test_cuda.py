"""GPUs as their driver counts them, and memory for copies, on hosts with and without one."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import numpy as np
import pytest

from deepfake_triton.host.cuda import PinnedBuffer, first_gpu, gpu_count

pytestmark = pytest.mark.fast


def counted(**variables: str) -> int:
    """The count in a process of its own: a driver reads its variables once."""
    code = "from deepfake_triton.host.cuda import gpu_count; print(gpu_count())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


def has_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def test_gpus_that_are_hidden_do_not_count() -> None:
    assert counted(CUDA_VISIBLE_DEVICES="") == 0


@pytest.mark.skipif(has_driver(), reason="a driver is installed here")
def test_without_a_driver_there_is_no_gpu() -> None:
    assert gpu_count() == 0


def test_a_buffer_grows_and_takes_any_shape() -> None:
    buffer = PinnedBuffer()
    first = buffer.array((4, 3), np.float32)
    first[:] = np.arange(12).reshape(4, 3)
    again = buffer.array((2, 6), np.float32)
    assert again.ravel().tolist() == list(range(12)), "the same memory"
    large = buffer.array((50, 100, 100, 3), np.uint8)
    large[:] = 7
    assert large.shape == (50, 100, 100, 3) and large.sum() == 7 * large.size
    assert first.ravel().tolist() == list(range(12)), "what was handed out before it grew"
    assert buffer.array((2,), np.int64).dtype == np.int64
    assert buffer.array((0, 5), np.float32).shape == (0, 5)


def test_the_first_gpu_is_there_where_one_is_counted() -> None:
    gpu = first_gpu()
    assert (gpu is None) == (gpu_count() == 0)
    if gpu is not None:  # as nvidia-smi prints both
        asked = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"]
        said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
        assert f"{gpu.name}, {gpu.compute_capability}" in said.splitlines()
