"""Deepfake-video inference on NVIDIA Triton: export, serve, and ask."""

__version__ = "0.1.0"
