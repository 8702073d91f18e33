"""Augmentation: portrait and camera variation, degradations, and the real–fake pairs drawn from them."""
