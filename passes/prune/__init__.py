"""Fewer weights: zeros among them, or channels and blocks taken out."""
