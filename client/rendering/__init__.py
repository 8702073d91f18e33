"""Verdicts for people: text, timeline plots and video overlays."""
