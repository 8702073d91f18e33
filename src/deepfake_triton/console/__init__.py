"""Output on a terminal: progress and text that is safe to print."""
