"""Training loop: data sources, frame and sequence phases, checkpoints of interrupted runs."""
