"""Where tritonserver comes from: NVIDIA's wheel, or a folder as in NVIDIA's container."""
