"""The real tritonserver from the wheel nvidia-pytriton, with a Python-based backend named onnxruntime."""
