"""Decode videos in child processes with limits; hand frames over in shared memory."""
