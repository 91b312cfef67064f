"""Passes that change the float type a model computes in."""
