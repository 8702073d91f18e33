"""Media files before decoding: opened, recognized, and the video stream selected."""
