"""Rules that ask the services and the model the same, and compare all that either of them says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import sqlalchemy as sa
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from archetype.clock import new_id
from archetype.core.config import WorldConfig
from archetype.errors import ArchetypeError, EntityNotFoundError, TickFailedError
from archetype.service.admission import CommandRequest
from archetype.service.container import ServiceContainer
from archetype.service.runs import RunRequest
from archetype.service.verification.verify import verify
from archetype.store.worlds import WorldRow
from stateful.model import Accepted, Model, ModelWorld, Order

__all__ = ["SystemMachine"]

ids = st.integers(1, 8)
levels = st.fixed_dictionaries(
    {"type": st.just("ModelLevel"), "value": st.integers(-9, 9), "heard": st.just(0)}
)
marks = st.fixed_dictionaries({"type": st.just("ModelMark"), "text": st.sampled_from(["", "a", "ä"])})
part_of_a_level = st.fixed_dictionaries({"type": st.just("ModelLevel"), "value": st.integers(-9, 9)})
wholes = st.one_of(levels.map(lambda a: [a]), marks.map(lambda a: [a]), st.tuples(levels, marks).map(list))
names = st.sampled_from([["ModelLevel"], ["ModelMark"], ["ModelLevel", "ModelMark"]])
payloads = st.one_of(
    st.tuples(st.just("spawn"), st.fixed_dictionaries({"components": wholes})),
    st.tuples(st.just("despawn"), st.fixed_dictionaries({"entity_id": ids})),
    st.tuples(
        st.just("update"),
        st.fixed_dictionaries({"entity_id": ids, "components": part_of_a_level.map(lambda a: [a])}),
    ),
    st.tuples(st.just("add_component"), st.fixed_dictionaries({"entity_id": ids, "components": wholes})),
    st.tuples(
        st.just("remove_component"), st.fixed_dictionaries({"entity_id": ids, "component_types": names})
    ),
    st.tuples(
        st.just("message"), st.fixed_dictionaries({"content": st.just("hi")}, optional={"receiver_id": ids})
    ),
    st.tuples(
        st.just("add_resource"),
        st.fixed_dictionaries(
            {"resource": st.just("ModelPace"), "value": st.fixed_dictionaries({"step": st.integers(1, 3)})}
        ),
    ),
)
orders = st.builds(
    lambda asked, tick, priority: Order(new_id(), *asked, tick, priority),
    payloads,
    st.integers(0, 6),
    st.sampled_from([0, 0, -1, 1]),
)
picks = st.integers(0, 2**16)


class SystemMachine(RuleBasedStateMachine):
    """The services over a database against the model; `make_url` gives an empty, migrated one."""

    make_url: Callable[[], str]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.model = Model()
        self.url = type(self).make_url()
        self.services = ServiceContainer(self.url)
        self.do(self.services.open())

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Await something."""
        return self.runner.run(work)

    def row(self, world: ModelWorld) -> WorldRow:
        """Find a world of the model in the database."""
        return self.do(self.services.world_service.find(world.name))

    def pick(self, number: int) -> ModelWorld:
        """Choose one of the worlds."""
        return list(self.model.worlds.values())[number % len(self.model.worlds)]

    @initialize(snapshots=st.sampled_from([1, 3, "needed"]))
    def first_world(self, snapshots: int | str) -> None:
        self.create(snapshots)

    @rule(snapshots=st.sampled_from([1, 3, "needed"]))
    def create(self, snapshots: int | str) -> None:
        if len(self.model.worlds) > 3:
            return
        world = self.model.create(f"world-{len(self.model.worlds)}")
        config = WorldConfig(name=world.name, seed=1, snapshots=snapshots)
        self.do(self.services.world_service.create_world(config))
        self._submit(world, [Order(new_id(), "add_processor", {"processor": "ModelGrowing"})])

    def _submit(self, world: ModelWorld, asked: list[Order], expected_version: int | None = None) -> None:
        row = self.row(world)
        requests = [
            CommandRequest(each.kind, each.payload, each.tick, each.priority, each.id) for each in asked
        ]
        submit = self.services.command_service.submit_batch
        try:
            receipts = self.do(submit(row.world_id, requests, expected_version=expected_version))
            told = [
                Accepted(each.position, each.version, each.tick, each.first_entity_id) for each in receipts
            ]
        except ArchetypeError as error:
            told = error.code
        assert told == self.model.submit(world, asked, expected_version)

    @rule(number=picks, order=orders)
    def submit(self, number: int, order: Order) -> None:
        self._submit(self.pick(number), [order])

    @rule(number=picks, batch=st.lists(orders, min_size=2, max_size=6))
    def submit_batch(self, number: int, batch: list[Order]) -> None:
        self._submit(self.pick(number), batch)

    @rule(number=picks, order=orders, off_by=st.sampled_from([0, 0, -1, 1]))
    def submit_for_a_version(self, number: int, order: Order, off_by: int) -> None:
        world = self.pick(number)
        self._submit(world, [order], world.version + off_by)

    @rule(number=picks, which=picks, order=orders, is_same=st.booleans(), is_expecting=st.booleans())
    def submit_again(self, number: int, which: int, order: Order, is_same: bool, is_expecting: bool) -> None:
        world = self.pick(number)
        known = list(world.events.values())[which % len(world.events)].order if world.events else order
        again = known if is_same else Order(known.id, order.kind, order.payload, order.tick, order.priority)
        if known.kind != "add_processor":  # it is recorded with what it stood for
            self._submit(world, [again], 1 if is_expecting else None)

    @rule(number=picks, steps=st.integers(0, 4))
    def run(self, number: int, steps: int) -> None:
        world = self.pick(number)
        result = self.do(
            self.services.simulation_service.run(self.row(world).world_id, RunRequest(steps=steps))
        )
        self.model.run(world, steps)
        assert (result.ticks_completed, result.final_tick) == (steps, world.tick)

    @rule(number=picks)
    def fail(self, number: int) -> None:
        world = self.pick(number)
        if not world.states and not any(e.place.tick == 0 for e in world.events.values()):
            return  # a fork of nothing has no processor that could fail
        request = RunRequest(steps=2, inputs={"is_failing": True})
        try:
            self.do(self.services.simulation_service.run(self.row(world).world_id, request))
        except TickFailedError:
            self.model.run(world, 1, is_failing=True)
        else:
            raise AssertionError("it did not fail")

    @rule(number=picks, at=picks)
    def fork(self, number: int, at: int) -> None:
        parent = self.pick(number)
        if len(self.model.worlds) > 5:
            return
        tick = at % (parent.tick + 1) - 1
        fork = self.model.fork(parent, f"fork-{len(self.model.worlds)}", tick)
        self.do(self.services.world_service.fork_world(self.row(parent), fork.name, tick=tick))
        assert self.row(fork).parent_id == self.row(fork.parent or parent).world_id

    @rule(number=picks, at=picks, name=st.sampled_from(["good", "best"]))
    def label(self, number: int, at: int, name: str) -> None:
        world = self.pick(number)
        if not world.states:
            return
        tick = at % world.tick
        try:
            self.do(self.services.label_service.add(self.row(world), name, tick))
            told = None
        except ArchetypeError as error:
            told = error.code
        assert told == self.model.label(world, name, tick)

    @rule(number=picks, keep_every=st.sampled_from([None, 2]))
    def thin(self, number: int, keep_every: int | None) -> None:
        world = self.pick(number)
        result = self.do(self.services.retention_service.thin(self.row(world), keep_every=keep_every))
        assert result.unproved == {}
        self.model.note(world)

    @rule()
    def collect_garbage(self) -> None:
        self.do(self.services.retention_service.collect_garbage())

    @rule()
    def restart(self) -> None:
        self.do(self.services.shutdown())
        self.services = ServiceContainer(self.url)
        self.do(self.services.open())

    @rule(number=picks, at=picks)
    def read_a_state(self, number: int, at: int) -> None:
        world = self.pick(number)
        if world.states:
            self._compare_state(world, at % world.tick)

    @rule(number=picks, entity_id=ids)
    def read_a_life(self, number: int, entity_id: int) -> None:
        world = self.pick(number)
        if not world.states:
            return
        try:
            moments = self.do(self.services.entity_service.history(self.row(world), entity_id))
        except EntityNotFoundError:
            moments = []
        lived = {tick: state[entity_id] for tick, state in enumerate(world.states) if entity_id in state}
        assert {each.tick: each.components for each in moments if each.is_active} == lived

    @rule(number=picks)
    def read_the_commands(self, number: int) -> None:
        world = self.pick(number)
        entries = self.do(self.services.command_service.history(self.row(world).world_id, limit=10_000))
        mine = [each for each in entries if each.command.type.value not in _AT_ONCE]
        past = [(event.order.id, event.place.tick, event.status) for event in world.past()]
        assert [(each.command.id, each.applied_tick, each.status.value) for each in mine] == past

    def _compare_state(self, world: ModelWorld, tick: int) -> None:
        row = self.row(world)
        found = self.do(self.services.query_service.snapshot(row, tick)).entities
        expected = world.state(tick)
        assert {each: set(components) for each, components in found.items()} == {
            each: set(components) for each, components in expected.items()
        }
        for entity_id, components in expected.items():
            entity = self.do(self.services.query_service.entity(row, entity_id, tick))
            assert entity.components == components

    @invariant()
    def heads_and_last_states_are_those_of_the_model(self) -> None:
        for world in self.model.worlds.values():
            row = self.row(world)
            head = (row.head_version, row.committed_tick + 1, row.open_tick, row.next_entity_id)
            model = (world.version, world.tick, world.open_tick, world.next_entity_id)
            assert head == model, f"{world.name}: {head} {model}"
            if world.states:
                self._compare_state(world, world.tick - 1)
            labels = self.do(self.services.label_service.list_labels(row))
            assert {each.name: each.tick for each in labels} == world.labels_seen()

    @invariant()
    def the_log_is_as_long_as_the_model_says(self) -> None:
        counted = sa.text("SELECT count(*), coalesce(max(position), 0) FROM events")
        found = self.do(
            self.services.database.read(lambda connection: tuple(connection.execute(counted).one()))
        )
        assert found == (self.model.position, self.model.position)

    def teardown(self) -> None:
        try:
            report = self.do(verify(self.services.database))
            assert report.is_sound, report.faults
        finally:
            self.do(self.services.shutdown())
            self.runner.close()


_AT_ONCE = {"create_world", "fork_world", "add_label", "thin_world", "step", "run"}
