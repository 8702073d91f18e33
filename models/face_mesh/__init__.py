"""468 points of a face's surface in three dimensions, for training: MediaPipe's FaceMesh as an ONNX graph."""
