"""Networks, checkpoints and their metadata, ONNX export, detectors, runtimes, and the local pipeline."""
