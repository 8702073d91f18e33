"""Model card: its sections, and scores on real-world clips."""
