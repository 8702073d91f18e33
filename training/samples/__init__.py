"""Samples: batches and clips of a split, loaded in worker processes in a fixed order."""
