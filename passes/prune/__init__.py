"""Passes that take channels, blocks and weights out, and make up for what is missing."""
