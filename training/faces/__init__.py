"""Faces found in videos and photos: crops as served, and portraits to forge."""
