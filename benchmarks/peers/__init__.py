"""What the comparisons with other tools share; imported from here and from the peers' processes."""
