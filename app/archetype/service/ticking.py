"""One sealed tick, from what it is given to what is durable of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from uuid import UUID

from archetype.clock import monotonic_s, utc_now
from archetype.core.context import TickContext, Timers
from archetype.core.hooks import PostTick, PreTick
from archetype.core.tick import ComputedTick, compute_tick
from archetype.errors import WorldBusyError
from archetype.log.hashes import commit_hash
from archetype.service.inputs import TickInputs
from archetype.service.judging import Judge, recorded_return
from archetype.service.live_worlds import LiveWorld
from archetype.service.observing import Observer, Phases, tick_seen
from archetype.service.outcomes import recorded_report
from archetype.service.policy import SnapshotPolicy
from archetype.service.preparation import Preparation
from archetype.service.processors import LoadedCode
from archetype.service.program import Program
from archetype.service.projection import Projection, Snapshot, take_snapshot
from archetype.service.runs import ActiveRun, rejection_facts
from archetype.service.states import StateService
from archetype.service.storing import PageCounts, PreparedPages, prepare
from archetype.service.worlds import WorldService
from archetype.store.commit import Committed, TickCommit, commit_tick
from archetype.store.database import Database
from archetype.store.leases import renew_lease, reserve_entity_ids
from archetype.store.runs import Sealed
from archetype.store.worlds import WorldRow

__all__ = ["TickRunner"]


class TickRunner:
    """Computes and commits sealed ticks of runs."""

    def __init__(
        self,
        database: Database,
        worlds: WorldService,
        states: StateService,
        *,
        preparation: Preparation,
        judge: Judge,
        observer: Observer,
        makes_patches: bool,
        is_stopping: Callable[[], bool],
    ) -> None:
        self._database = database
        self._worlds = worlds
        self._states = states
        self._preparation = preparation
        self._judge = judge
        self._observer = observer
        self._makes_patches = makes_patches
        self._is_stopping = is_stopping
        self.page_counts = PageCounts()

    async def run(self, live: LiveWorld, run: ActiveRun, sealed: Sealed) -> Committed:
        """Compute and commit one sealed tick; return the next one, sealed, or how the run ended."""
        started_at, phases = utc_now(), Phases()
        projection = await self._states.of_live(live, sealed.tick - 1)
        inputs, code = await self._preparation.prepare(run.world, projection, sealed)
        phases.end("prepare")
        await live.hooks.fire(PreTick(live.world_id, sealed.tick))
        context = self._context(live, run, tick=sealed.tick, inputs=inputs, code=code)
        computing = compute_tick(projection.state, inputs.changes, code.processors, context, code.scheduler)
        computed = await self._keep_lease(run, computing)
        computed_at = phases.end("compute")
        rejections = (*inputs.rejections, *computed.rejections)
        judged = await self._judge.tick(computed.state, run.request.episode)
        after = run.after_tick(inputs.queued_count - len(rejections), len(rejections), judged)
        is_last = after.is_over or self._is_stopping()
        stored = await self._to_be_stored(run.world, projection, inputs.program, is_last=is_last)
        snapshot, pages = await asyncio.to_thread(self._in_pages, computed, projection, stored)
        phases.end("hash")
        following = projection.after_tick(computed, snapshot, inputs.program)
        digest = commit_hash(
            parent=projection.commit_hash,
            tick=sealed.tick,
            command_hashes=(row.hash for row in inputs.commands),
            state=snapshot.state_hash,
            code=inputs.program.hash,
        )
        commit = TickCommit(
            world_id=live.world_id,
            sealed=sealed,
            lease=run.lease,
            run_id=run.run_id,
            parent_hash=projection.commit_hash,
            commit_hash=digest,
            state_hash=snapshot.state_hash,
            code_hash=inputs.program.hash,
            program=None if inputs.program.hash == projection.stored_code else inputs.program.document,
            next_entity_id=max(sealed.next_entity_id, computed.report.next_entity_id),
            entity_count=computed.state.entity_count,
            command_count=len(inputs.commands),
            rejected_count=len(rejections),
            started_at=started_at,
            compute_ms=(computed_at - phases.began_s) * 1000,
            persist_ms=(monotonic_s() - computed_at) * 1000,
            rejections=rejection_facts(inputs, rejections, sealed.tick),
            commands_applied=inputs.queued_count - len(rejections),
            archetype_counts={key: table.row_count for key, table in computed.state.tables.items()},
            ran=recorded_report(computed.report) | recorded_return(judged),
            new_archetypes=following.new_archetypes,
            snapshots=pages.snapshots,
            run_progress=(after.completed, after.applied),
            run_end=after.end(sealed.tick) if is_last else None,
        )
        committed = await self._database.write(lambda connection: commit_tick(connection, commit))
        phases.end("persist")
        self._observer.ticked(tick_seen(commit, phases))
        run.advance(after, committed_tick=sealed.tick)
        is_stored = any(tick == sealed.tick for _, tick in stored)
        self.page_counts.add(pages, committed.pages_there)
        bases = pages.known(committed.pages_there) if is_stored else None
        live.projection = following.committed(digest, bases)
        if live.hooks.has(PostTick):
            results = {table.archetype.components: table.rows for table in computed.state}
            await live.hooks.fire(PostTick(live.world_id, sealed.tick + 1, results))
        return committed

    def _context(
        self, live: LiveWorld, run: ActiveRun, *, tick: int, inputs: TickInputs, code: LoadedCode
    ) -> TickContext:
        return TickContext(
            world_id=live.world_id,
            run_id=run.run_id,
            tick=tick,
            seed=run.world.seed,
            resources=live.resources.in_tick(code.resources),
            debug=run.request.is_debug,
            inputs=run.inputs,
            messages=inputs.messages,
            reserve_ids=partial(self._reserve_ids, run, tick),
            timers=Timers(now=monotonic_s),
        )

    async def _to_be_stored(
        self, world: WorldRow, before: Projection, program: Program, *, is_last: bool
    ) -> list[tuple[UUID, int]]:
        """Return which snapshots a tick's commit has to store, by owner and tick: its own, the one before."""
        stored: list[tuple[UUID, int]] = []
        is_new_program = program.hash != before.program.hash
        if not before.is_stored and (is_new_program or before.committed_tick == world.fork_tick):
            owner_id = (await self._worlds.lineage(world.world_id)).owner_of(before.committed_tick)
            stored.append((owner_id, before.committed_tick))
        tick = before.committed_tick + 1
        if is_last or SnapshotPolicy.of_config(world.config).wants(tick) or not program.is_deterministic:
            stored.append((world.world_id, tick))
        return stored

    def _in_pages(
        self, computed: ComputedTick, before: Projection, stored: Sequence[tuple[UUID, int]]
    ) -> tuple[Snapshot, PreparedPages]:
        """Cut a computed state into pages, and prepare those that are to be stored."""
        snapshot = take_snapshot(computed.state, computed.tombstones, before.snapshot)
        chosen = [
            (owner_id, tick, before.snapshot if tick == before.committed_tick else snapshot)
            for owner_id, tick in stored
        ]
        return snapshot, prepare(chosen, makes_patches=self._makes_patches)

    async def _reserve_ids(self, run: ActiveRun, tick: int, count: int) -> int:
        """Take ids for entities that a tick spawns."""
        world = run.world
        first_id = await self._database.write(
            lambda connection: reserve_entity_ids(
                connection, world.world_id, run.lease, tick=tick, count=count
            )
        )
        if first_id is None:
            raise _taken_over(world)
        return first_id

    async def _keep_lease(self, run: ActiveRun, computing: Awaitable[ComputedTick]) -> ComputedTick:
        """Compute a tick, however long it takes, and hold the world's lease meanwhile."""
        task = asyncio.ensure_future(computing)
        try:
            while not (await asyncio.wait({task}, timeout=run.lease.ttl_s / 3))[0]:
                held = await self._database.write(
                    lambda connection: renew_lease(connection, run.world.world_id, run.lease)
                )
                if not held:
                    raise _taken_over(run.world)
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})


def _taken_over(world: WorldRow) -> WorldBusyError:
    msg = f"world {world.name!r} was taken over or removed while a tick was computed"
    return WorldBusyError(msg, retry_after_s=1.0)
