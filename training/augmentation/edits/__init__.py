"""Edits of whole pictures: light, skin, filters, sharpness, and what is drawn over them."""
