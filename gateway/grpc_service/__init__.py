"""gRPC service deepfake.v1.Detector: a video file in, events and the verdict out."""
