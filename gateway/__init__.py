"""Gateway: REST, gRPC for video files and a web page, in front of the Triton servers."""
