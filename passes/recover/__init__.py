"""Recovering what a lossy rewrite has lost, without the training code."""
