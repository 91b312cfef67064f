"""Passes that make a model smaller by leaving weights or whole channels out."""
