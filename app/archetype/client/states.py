"""Calls that read a world's state after any committed tick, or after each of several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from archetype.client import answers
from archetype.client.calls import ARROW_STREAM, Calls, path_of, present

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["StateCalls"]


class StateCalls(Calls):
    """The calls about states; `to_tick` is left out of a range, and by default the next tick to run."""

    def state(self, world: str, *, tick: int | None = None) -> answers.State:
        """Return who is there after a tick, by default the last committed one, and with which components."""
        return self._read(path_of(world, "state"), tick=tick)

    def state_range(self, world: str, from_tick: int = 0, to_tick: int | None = None) -> answers.StateRange:
        """Return who is there after each tick of a range, and with which components."""
        return self._read(path_of(world, "state"), from_tick=from_tick, to_tick=to_tick)

    def counts(
        self, world: str, from_tick: int | None = None, to_tick: int | None = None
    ) -> list[answers.Counts]:
        """Count the active entities after each tick of a range, by default of all that are committed."""
        return self._read(path_of(world, "counts"), from_tick=from_tick, to_tick=to_tick)

    def entity(self, world: str, entity_id: int, *, tick: int | None = None) -> answers.EntityState:
        """Return one entity after a tick."""
        return self._read(path_of(world, "entities", entity_id), tick=tick)

    def components(
        self,
        world: str,
        types: Sequence[str],
        *,
        entity_ids: Sequence[int] | None = None,
        tick: int | None = None,
    ) -> answers.ComponentRows:
        """Return the entities that have all of these components, as rows of nested values."""
        return self._read(path_of(world, "components"), **_selection(types, entity_ids, tick=tick))

    def component_range(
        self,
        world: str,
        types: Sequence[str],
        from_tick: int = 0,
        to_tick: int | None = None,
        *,
        entity_ids: Sequence[int] | None = None,
    ) -> answers.ComponentRange:
        """Return the rows of `components` after each tick of a range, by tick and entity id."""
        selection = _selection(types, entity_ids, from_tick=from_tick, to_tick=to_tick)
        return self._read(path_of(world, "components"), **selection)

    def frame(
        self,
        world: str,
        types: Sequence[str] | None = None,
        *,
        entity_ids: Sequence[int] | None = None,
        tick: int | None = None,
        from_tick: int | None = None,
        to_tick: int | None = None,
    ) -> pa.Table:
        """Return rows after a tick, or after each of a range, as one flat Arrow table.

        Without `types`, every entity with all it has.
        """
        from archetype.client.tables import decode_stream  # noqa: PLC0415

        route = "state" if types is None and entity_ids is None else "components"
        response = self._transport.send(
            "GET",
            path_of(world, route),
            params=_selection(types, entity_ids, tick=tick, from_tick=from_tick, to_tick=to_tick),
            headers={"Accept": ARROW_STREAM},
        )
        return decode_stream(response.content)


def _selection(
    types: Sequence[str] | None, entity_ids: Sequence[int] | None, **ticks: int | None
) -> dict[str, Any]:
    return present(
        types=None if types is None else ",".join(types),
        entity_ids=None if entity_ids is None else ",".join(map(str, entity_ids)),
        **ticks,
    )
