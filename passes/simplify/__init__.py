"""Exact, device-neutral simplifications."""
