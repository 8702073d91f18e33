"""Decoded frames: timestamps, interlacing, color, orientation, scaling."""
