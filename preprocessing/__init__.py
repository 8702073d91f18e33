"""Preprocessing from video files to face crops: decoding, detections, tracking and cropping on arrays."""
