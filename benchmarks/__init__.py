"""Benchmarks that a sceptic can rerun: where the time goes, against whom, and how far from the limit."""
