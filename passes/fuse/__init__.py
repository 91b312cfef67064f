"""Rewrites that are exact up to rounding; some are aimed at what a target fuses."""
