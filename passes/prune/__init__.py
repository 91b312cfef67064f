"""Passes that leave weights, channels or blocks out, and make up for what is missing."""
