"""Calibration of probabilities (Platt) and thresholds of the operating points, from held-out scores."""
