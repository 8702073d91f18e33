"""Small networks that redraw an aligned face: their architecture, weights and training."""
