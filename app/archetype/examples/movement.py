"""Points that drift: the quickstart's world, with rows to fill it to any size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from daft import DataFrame, col

from archetype import AsyncProcessor, Component

__all__ = ["MovementProcessor", "Position", "Velocity", "rows"]

VELOCITY_SPREAD = 1.0
"""Standard deviation of each velocity component, in length units a tick."""


class Position(Component):
    """Where a point is, in length units."""

    x: float = 0.0
    y: float = 0.0


class Velocity(Component):
    """How far a point moves, in length units a tick."""

    dx: float = 0.0
    dy: float = 0.0


class MovementProcessor(AsyncProcessor):
    """Moves every point by its velocity."""

    components = (Position, Velocity)
    priority = 10

    async def process(self, df: DataFrame, **kwargs: Any) -> DataFrame:
        """Add the velocity to the position."""
        return df.with_columns(
            {
                "position__x": col("position__x") + col("velocity__dx"),
                "position__y": col("position__y") + col("velocity__dy"),
            }
        )


def rows(count: int, seed: int = 0) -> pa.Table:
    """Return `count` moving points for `world.spawn_many`, the same for the same seed.

    Positions are uniform in a square of 1,000 length units, velocities normal around zero.
    """
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-500.0, 500.0, (2, count))
    dx, dy = rng.normal(0.0, VELOCITY_SPREAD, (2, count))
    return pa.table({"position__x": x, "position__y": y, "velocity__dx": dx, "velocity__dy": dy})
