"""Gradient accounting: what clean and noisy examples ask of a layer (paper §4)."""
