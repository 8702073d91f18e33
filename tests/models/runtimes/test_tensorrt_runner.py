from __future__ import annotations

from pathlib import Path

import pytest

from deepfake_triton.errors import EngineError
from deepfake_triton.models.runtimes.tensorrt_library import gpu_compute_capability, load_tensorrt
from deepfake_triton.models.runtimes.tensorrt_runner import TensorRTRunner

pytestmark = pytest.mark.fast


@pytest.mark.skipif(gpu_compute_capability() is not None, reason="a GPU is here")
def test_an_engine_is_not_run_without_a_gpu(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="not run: there is no GPU here"):
        TensorRTRunner(tmp_path / "m.plan", load_tensorrt("tensorrt-rtx"))
