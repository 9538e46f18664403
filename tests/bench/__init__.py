"""The benchmark: what the README promises, measured beside the floor that this very machine sets."""

import archetype  # noqa: F401  before Daft, which reports its import to its makers otherwise
