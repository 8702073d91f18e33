"""Clips and windows of a video as frame batches, and video files written."""
