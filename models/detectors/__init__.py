"""Face detectors as ONNX graphs with equal inputs and outputs: uint8 frames to decoded candidates."""
