"""Passes that recognise recurrent cells, unrolled or in loops, as recurrent operators."""
