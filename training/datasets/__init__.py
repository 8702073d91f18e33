"""Datasets on disk: official layouts, splits by identity, index into one manifest."""
