"""Runtimes behind the `Runner` protocol: torch, ONNX Runtime, TensorRT and Triton."""
