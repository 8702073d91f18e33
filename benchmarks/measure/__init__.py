"""Measurements: stages, load, comparison, roofline, GPU."""
