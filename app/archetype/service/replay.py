"""Computing committed ticks again, from what the log recorded and nothing else."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy.engine import Connection

from archetype.core.context import TickContext
from archetype.core.resources import Resources
from archetype.core.tick import compute_tick
from archetype.errors import CorruptionError, DivergenceError
from archetype.service.inputs import read_inputs
from archetype.service.outcomes import Outcomes
from archetype.service.processors import ProcessorPool
from archetype.service.program import Program
from archetype.service.projection import Projection, take_snapshot
from archetype.store.database import Database
from archetype.store.log import LogRow, checked, commands_of_tick, row_at
from archetype.store.run_rows import RunInput, run_input
from archetype.store.snapshots import program_document
from archetype.store.ticks import TickRow
from archetype.store.worlds import find

__all__ = ["RecordedTick", "Replayer"]

RUNS_KEPT_MAX = 64


@dataclass(frozen=True)
class RecordedTick:
    """All that a tick was given, as it is recorded."""

    row: TickRow

    commands: list[LogRow]
    program: Program
    run: RunInput
    seed: int
    outcomes: Outcomes


class Replayer:
    """Computes ticks again, beside everything else: it writes nothing, and fires no hook.

    It builds processors of its own. The code of a tick is the one that its row names; without
    `allows_changes` only exactly that code runs, with it whatever is loaded under the recorded names.
    """

    def __init__(self, database: Database, resources: Resources, *, allows_changes: bool = False) -> None:
        self._database = database
        self._resources = resources
        self._pool = ProcessorPool(allows_changes=allows_changes)
        self._programs: dict[bytes, Program] = {}
        self._runs: OrderedDict[UUID, RunInput] = OrderedDict()
        self._seeds: dict[UUID, int] = {}

    async def read(self, before: Projection, row: TickRow) -> RecordedTick:
        """Read what the tick that follows a projection was given; `CorruptionError` if a part is missing."""
        recorded = self._known(before, row)
        if recorded is None:
            recorded = await self._database.read(lambda connection: self._read(connection, before, row))
        return recorded

    async def compute(self, before: Projection, recorded: RecordedTick) -> Projection:
        """Compute the tick that follows a projection; whether it came out as recorded, the caller compares.

        Raises `CodeNotLoadedError` and `CodeChangedError` where the recorded code is not here, and
        `CorruptionError` where a command does not match its hash.
        """
        row = recorded.row
        code = self._pool.load(row.world_id, recorded.program)
        inputs = await asyncio.to_thread(read_inputs, recorded.commands, before.program)
        context = TickContext(
            world_id=row.world_id,
            run_id=row.run_id,
            tick=row.tick,
            seed=recorded.seed,
            resources=self._resources.in_tick(code.resources),
            debug=recorded.run.is_debug,
            inputs=recorded.run.values,
            messages=inputs.messages,
            reserve_ids=recorded.outcomes.ids(),
            skipped=recorded.outcomes.skipped,
        )
        computed = await compute_tick(before.state, inputs.changes, code.processors, context, code.scheduler)
        snapshot = await asyncio.to_thread(
            take_snapshot, computed.state, computed.tombstones, before.snapshot
        )
        after = before.after_tick(computed, snapshot, recorded.program)
        return replace(after, commit_hash=row.commit_hash, stored_code=row.code_hash)

    async def follow(self, before: Projection, row: TickRow) -> Projection:
        """Compute the tick that follows a projection; `DivergenceError` if it is not the recorded one."""
        after = await self.compute(before, await self.read(before, row))
        if after.snapshot.state_hash != row.state_hash:
            msg = (
                f"tick {row.tick} of world {row.world_id} has no snapshot, and computed again it is not the "
                "state that was recorded: a processor is not a function of its inputs, or a library changed; "
                "`archetype world replay` says where"
            )
            raise DivergenceError(msg, world_id=str(row.world_id), tick=row.tick)
        return after

    def _known(self, before: Projection, row: TickRow) -> RecordedTick | None:
        """Return what a tick without commands was given, if an earlier one was given the same."""
        run, seed = self._runs.get(row.run_id), self._seeds.get(row.world_id)
        program = before.program
        if row.command_count or run is None or seed is None or program.hash != row.code_hash:
            return None
        return None if program.leaves_outcomes else RecordedTick(row, [], program, run, seed, Outcomes())

    def _read(self, connection: Connection, before: Projection, row: TickRow) -> RecordedTick:
        commands: list[LogRow] = []
        if row.command_count:
            commands = commands_of_tick(connection, row.world_id, row.tick)
        program = self._program(connection, before, row.code_hash)
        outcomes = Outcomes()
        if program.leaves_outcomes:
            fact = row_at(connection, row.position)
            checked([fact])
            outcomes = Outcomes.of_fact(fact.event.payload)
        return RecordedTick(
            row,
            commands,
            program,
            self._run(connection, row.run_id),
            self._seed(connection, row.world_id),
            outcomes,
        )

    def _program(self, connection: Connection, before: Projection, code_hash: bytes) -> Program:
        if before.program.hash == code_hash:
            return before.program
        known = self._programs.get(code_hash)
        if known is None:
            known = Program.from_document(program_document(connection, code_hash))
            self._programs[code_hash] = known
        return known

    def _run(self, connection: Connection, run_id: UUID) -> RunInput:
        known = self._runs.get(run_id)
        if known is None:
            known = run_input(connection, run_id)
            checked([known.command])
            self._runs[run_id] = known
            if len(self._runs) > RUNS_KEPT_MAX:
                self._runs.popitem(last=False)
        return known

    def _seed(self, connection: Connection, world_id: UUID) -> int:
        known = self._seeds.get(world_id)
        if known is None:
            world = find(connection, world_id)
            if world is None:
                msg = f"world {world_id} is missing, which owns ticks that others share"
                raise CorruptionError(msg, world_id=str(world_id))
            known = self._seeds[world_id] = world.seed
        return known
