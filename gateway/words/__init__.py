"""Sentences about verdicts, made from one file of texts for each language."""
