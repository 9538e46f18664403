"""The system as plain lists and dicts: what a database full of worlds means, whatever it is made of.

A world is what it was forked from, and what it was told since. Commands wait for their tick, in the order
(tick, priority, version); a tick applies those that are due, then its processor runs: every `ModelLevel`
grows by the pace, and counts the messages to its entity. Every accepted command and every recorded fact is
one event; a world's version is how many it has, the log's position how many all have.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

__all__ = ["Accepted", "Event", "Model", "ModelWorld", "Order"]

State = dict[int, dict[str, dict[str, Any]]]
"""By entity, by component, by field: the value."""


@dataclass(frozen=True)
class Order:
    """A command as it is asked for."""

    id: UUID
    kind: str
    payload: dict[str, Any]
    tick: int = 0
    priority: int = 0


@dataclass(frozen=True)
class Accepted:
    """Where a command stands: in the log, in its world, in which tick; and the id that a spawn was given."""

    position: int
    version: int
    tick: int
    entity_id: int | None


@dataclass
class Event:
    """An accepted command of the queue, and what became of it."""

    order: Order
    place: Accepted
    status: str = "pending"


@dataclass
class ModelWorld:
    """A world: `states` and `next_ids` are by tick, those of its ancestors among them."""

    name: str
    parent: ModelWorld | None = None
    fork_tick: int = -1
    version: int = 1
    next_entity_id: int = 1
    pace: int = 1
    is_sealed: bool = False
    states: list[State] = field(default_factory=list)
    paces: list[int] = field(default_factory=list)
    next_ids: list[int] = field(default_factory=list)
    events: dict[UUID, Event] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)

    @property
    def tick(self) -> int:
        """The next tick to run."""
        return len(self.states)

    @property
    def open_tick(self) -> int:
        """The tick to which commands go: behind one whose inputs are fixed."""
        return self.tick + self.is_sealed

    def state(self, tick: int) -> State:
        """The entities after a tick; there are none before the first."""
        return self.states[tick] if tick >= 0 else {}

    def labels_seen(self) -> dict[str, int]:
        """Its labels, and those that it inherits: of ticks that it shares, unless it has one of that name."""
        if self.parent is None:
            return dict(self.labels)
        shared = {name: tick for name, tick in self.parent.labels_seen().items() if tick <= self.fork_tick}
        return shared | self.labels

    def past(self) -> list[Event]:
        """All commands of its past and of its own, in the order of the log."""
        shared = [] if self.parent is None else self.parent.past()
        own = sorted(self.events.values(), key=lambda event: event.place.position)
        return [each for each in shared if each.place.tick <= self.fork_tick] + own


class Refused(Exception):  # noqa: N818  it is an answer
    """A command that cannot be applied."""


class Model:
    """All worlds by name, and how long the log is."""

    def __init__(self) -> None:
        self.worlds: dict[str, ModelWorld] = {}
        self.position = 0

    def create(self, name: str) -> ModelWorld:
        """Make a world."""
        self.position += 1
        return self._keep(ModelWorld(name))

    def _keep(self, world: ModelWorld) -> ModelWorld:
        self.worlds[world.name] = world
        return world

    def fork(self, parent: ModelWorld, name: str, tick: int) -> ModelWorld:
        """Make a world that shares another's past up to a tick; it hangs on the one that owns the tick."""
        owner = parent
        while owner.parent is not None and 0 <= tick <= owner.fork_tick:
            owner = owner.parent
        self.position += 1
        fork = ModelWorld(
            name,
            parent=owner,
            fork_tick=tick,
            next_entity_id=parent.next_ids[tick] if tick >= 0 else 1,
            pace=parent.paces[tick] if tick >= 0 else 1,
            states=parent.states[: tick + 1],
            paces=parent.paces[: tick + 1],
            next_ids=parent.next_ids[: tick + 1],
        )
        return self._keep(fork)

    def submit(
        self, world: ModelWorld, orders: Sequence[Order], expected_version: int | None = None
    ) -> list[Accepted] | str:
        """Accept commands, all or none: their places, or the code of the refusal.

        An id that is known is answered as the first time, whatever version is expected; with other content it
        is refused.
        """
        known = [world.events.get(each.id) for each in orders]
        if any(event and event.order != order for event, order in zip(known, orders, strict=True)):
            return "command_conflict"
        if not all(known) and expected_version is not None and expected_version != world.version:
            return "version_conflict"
        for order in orders:
            if order.id not in world.events:
                self._accept(world, order)
        return [world.events[each.id].place for each in orders]

    def _accept(self, world: ModelWorld, order: Order) -> None:
        self._record(world, 1)
        entity_id = None
        if order.kind == "spawn":
            entity_id, world.next_entity_id = world.next_entity_id, world.next_entity_id + 1
        tick = max(order.tick, world.open_tick)
        world.events[order.id] = Event(order, Accepted(self.position, world.version, tick, entity_id))

    def _record(self, world: ModelWorld, count: int) -> None:
        """Lengthen the log by so many events of a world."""
        self.position += count
        world.version += count

    def run(self, world: ModelWorld, steps: int, *, is_failing: bool = False) -> bool:
        """Compute ticks, and tell whether they were. One that fails stays sealed: its inputs are fixed."""
        self._record(world, 1)
        if is_failing:
            world.is_sealed = True
            self._record(world, 1)  # the run's end
            return False
        for _ in range(steps):
            self._tick(world)
        self._record(world, 1)
        return True

    def _tick(self, world: ModelWorld) -> None:
        tick, state = world.tick, copy.deepcopy(world.state(world.tick - 1))
        inboxes: list[tuple[int | None, Event]] = []
        for event in self._due(world, tick):
            event.status = "applied"
            try:
                _apply(world, state, event, inboxes)
            except Refused:
                event.status = "rejected"
        for receiver_id, event in inboxes:
            if receiver_id is not None and receiver_id not in state:
                event.status = "rejected"
        if world.is_sealed:  # a resource that came too late for the tick holds for it already
            for event in self._due(world, tick + 1):
                if event.order.kind == "add_resource":
                    world.pace = event.order.payload["value"]["step"]
        heard = [receiver_id for receiver_id, event in inboxes if event.status == "applied"]
        for entity_id, components in state.items():
            if "ModelLevel" in components:
                components["ModelLevel"]["value"] += world.pace
                components["ModelLevel"]["heard"] += heard.count(entity_id)
        rejected = sum(e.status == "rejected" for e in world.events.values() if e.place.tick == tick)
        self._record(world, 1 + rejected)
        world.states.append(state)
        world.paces.append(world.pace)
        world.next_ids.append(world.next_entity_id)
        world.is_sealed = False

    def _due(self, world: ModelWorld, tick: int) -> list[Event]:
        due = [event for event in world.events.values() if event.place.tick == tick]
        return sorted(due, key=lambda e: (e.order.tick, e.order.priority, e.place.version))

    def label(self, world: ModelWorld, name: str, tick: int) -> str | None:
        """Name a tick: None, or the code of the refusal."""
        if name in world.labels:
            return "label_taken"
        self._record(world, 1)
        world.labels[name] = tick
        return None

    def note(self, world: ModelWorld) -> None:
        """Record a command that changes nothing of what a world is, such as thinning it."""
        self._record(world, 1)


def _apply(  # noqa: C901, PLR0912  a table
    world: ModelWorld, state: State, event: Event, inboxes: list[tuple[int | None, Event]]
) -> None:
    """Apply one command; `Refused`, and nothing is changed, if it cannot be."""
    payload = copy.deepcopy(event.order.payload)
    entity_id = payload.get("entity_id")
    if entity_id is not None and entity_id not in state:
        raise Refused
    components = {each.pop("type"): each for each in payload.get("components", [])}
    match event.order.kind:
        case "spawn":
            assert event.place.entity_id is not None
            state[event.place.entity_id] = components
        case "despawn":
            del state[entity_id]
        case "update":
            if not components.keys() <= state[entity_id].keys():
                raise Refused
            for name, fields in components.items():
                state[entity_id][name] |= fields
        case "add_component":
            state[entity_id] |= components
        case "remove_component":
            if not set(payload["component_types"]) <= state[entity_id].keys():
                raise Refused
            for name in payload["component_types"]:
                del state[entity_id][name]
        case "message":
            inboxes.append((payload.get("receiver_id"), event))
        case "add_resource":
            world.pace = payload["value"]["step"]
        case _:
            pass
