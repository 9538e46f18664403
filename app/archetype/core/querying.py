"""Daft, made fit for replay: the same inputs give the same bytes."""

from __future__ import annotations

import functools

__all__ = ["configure_daft", "warm_daft"]

MORSEL_ROWS = 1 << 40


@functools.cache
def configure_daft() -> None:
    """Make Daft fit for replay: each frame is one morsel, so that float sums do not vary."""
    import daft  # noqa: PLC0415  slow to import

    daft.set_execution_config(
        default_morsel_size=MORSEL_ROWS, enable_dynamic_batching=False, maintain_order=True
    )


def warm_daft() -> None:
    """Run a query of one row: the first of a process starts Daft's threads, which takes most of a second."""
    configure_daft()
    import daft  # noqa: PLC0415

    daft.from_pydict({"warm": [1]}).with_column("up", daft.col("warm") + 1).collect()
