from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deepfake_triton.benchmarks.suite.clips import bench_clip


@pytest.fixture(scope="session")
def benchmark_clip() -> Iterator[Path]:
    """The clip that benchmarks use unless another is named, made once."""
    with bench_clip(None) as path:
        yield path
    assert not path.exists()
