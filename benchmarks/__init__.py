"""Reproducible benchmarks: where the time goes, against which baselines, how far from the machine's limit."""
