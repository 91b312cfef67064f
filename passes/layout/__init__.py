"""Passes that move the axes of tensors to where they cost least."""
