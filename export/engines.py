"""TensorRT engines of the served networks, for every compute capability of the options."""

from __future__ import annotations

import dataclasses

from deepfake_triton.console.progress import track_progress
from deepfake_triton.export.options import TensorRTEngine
from deepfake_triton.export.served_graph import BuiltEngine, ServedGraph
from deepfake_triton.export.tensorrt.builder import EngineOptions, build_engine
from deepfake_triton.models.runtimes.tensorrt_library import TensorRT
from deepfake_triton.models.stages import Stages


def build_engines(graphs: Stages[ServedGraph], engine: TensorRTEngine) -> Stages[ServedGraph]:
    """Compile the networks for every compute capability of the options. Raises EngineError."""
    library = engine.load_library()
    return graphs.map(lambda graph: _with_engines(graph, engine, library))


def _with_engines(graph: ServedGraph, options: TensorRTEngine, library: TensorRT) -> ServedGraph:
    engines = []
    capabilities = options.compute_capabilities or (None,)
    for capability in track_progress(capabilities, f"engines of {graph.onnx.stem}", "GPUs"):
        path = graph.onnx.with_suffix(f".sm{capability or ''}.plan")
        build = EngineOptions(compute_capability=capability, timing_cache=options.timing_cache)
        engines.append(BuiltEngine(path, build_engine(graph.onnx, path, library, options=build)))
    return dataclasses.replace(graph, engines=tuple(engines))
