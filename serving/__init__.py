"""Serving with the tritonserver of the wheel nvidia-pytriton and a Python-based ONNX Runtime backend."""
