"""Evaluation: score labeled videos, measure, report; calibration and the model card are in folders below."""
