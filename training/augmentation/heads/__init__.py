"""Heads that turn, close their eyes and move their mouths, by the points of a face mesh."""
