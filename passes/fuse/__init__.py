"""Passes that merge nodes into fewer, exact up to rounding."""
