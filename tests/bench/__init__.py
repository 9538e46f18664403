"""The benchmark: what the README promises, measured beside the floor that this very machine sets."""
