"""Execution groups: what runs together, on which state, and what its writes come to."""
