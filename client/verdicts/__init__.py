"""Verdicts from probabilities: pure functions and the frozen result types."""
