"""Self-made forgeries: recipes, blending masks, color transfer, face swaps."""
