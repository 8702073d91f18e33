"""All benchmarks by the name of their subcommand, which is also that of their files."""

from __future__ import annotations

from collections.abc import Mapping

from deepfake_triton.benchmarks.suite import compare, gpu, load, roofline, scaling, stages
from deepfake_triton.benchmarks.suite.benchmark import Benchmark

BENCHMARKS: Mapping[str, Benchmark] = {
    "stages": stages.BENCHMARK,
    "load": load.BENCHMARK,
    "compare": compare.BENCHMARK,
    "scaling": scaling.BENCHMARK,
    "limit": roofline.BENCHMARK,
    "gpu": gpu.BENCHMARK,
}
