"""Evaluation: score labeled videos, summarize, report, calibrate probabilities (Platt), model card."""
