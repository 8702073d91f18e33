"""Triton's own layout: the Python step, and the configs of the default export (written by `export`)."""
