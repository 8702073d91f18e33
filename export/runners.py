"""What runs an exported network in this process."""

from __future__ import annotations

from deepfake_triton.export.options import Engine, TensorRTEngine
from deepfake_triton.export.served_graph import ServedGraph
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.models.runtimes.onnx_runner import OnnxRunner
from deepfake_triton.models.runtimes.tensorrt_library import gpu_compute_capability
from deepfake_triton.models.runtimes.tensorrt_runner import TensorRTRunner
from deepfake_triton.models.stages import Stages


def start_runners(graphs: Stages[ServedGraph], engine: Engine) -> Stages[Runner]:
    """Load every network: the engine where its GPU is at hand, else the ONNX file that it was built from."""
    return graphs.map(lambda graph: _start_runner(graph, engine))


def engines_run_here(graphs: Stages[ServedGraph]) -> bool:
    """Return whether the networks run in this process as they will be served: with engines, on their GPU."""
    capability = gpu_compute_capability()
    return all(not graph.engines or capability in graph.engine_files for graph in graphs)


def _start_runner(graph: ServedGraph, options: Engine) -> Runner:
    capability = gpu_compute_capability()
    for engine in graph.engines:
        if isinstance(options, TensorRTEngine) and engine.record.compute_capability == capability:
            return TensorRTRunner(engine.path, options.load_library())
    return OnnxRunner(graph.onnx, graph.provider)
