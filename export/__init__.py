"""Checkpoint to ONNX to model repository, with proof that the answers stayed the same."""
