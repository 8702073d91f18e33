"""Checkpoint files: read without running code, written with the metadata that serving needs."""
