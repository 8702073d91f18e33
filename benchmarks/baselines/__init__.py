"""Baselines that the server is compared with."""
