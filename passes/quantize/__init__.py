"""Integer arithmetic."""
