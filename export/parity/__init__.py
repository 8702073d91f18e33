"""Proof that exported graphs answer as torch does, within stated tolerances."""
