"""A world whose tick sums and joins floats over more rows than one of Daft's usual morsels holds."""

from daft import col

from archetype.core.component import Component
from archetype.core.processor import AsyncProcessor


class Crowd(Component):
    """One of many: where it is, and which group it belongs to."""

    x: float = 0.0
    team: int = 0


class Flocking(AsyncProcessor):
    """Draws everyone half-way to the mean of the team, and a random step on."""

    components = (Crowd,)

    async def process(self, df, *, rng, **kwargs):
        means = df.groupby("crowd__team").agg(col("crowd__x").mean().alias("mean"))
        moved = (col("crowd__x") + col("mean")) / 2 + float(rng.normal())
        return df.join(means, on="crowd__team").with_column("crowd__x", moved).exclude("mean")
