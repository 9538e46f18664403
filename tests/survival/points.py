"""Every moment of a writer's work in turn: a fault there, then a second process that settles and compares."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from archetype.clock import new_id
from archetype.service.admission import CommandRequest
from archetype.service.container import ServiceContainer
from archetype.service.runs import RunRequest
from archetype.service.verification.verify import verify
from survival.deeds import Deeds
from survival.injection import Fault, write_under
from survival.writer import SPAWN

__all__ = ["CALLS", "check_point", "every_point", "prepared"]

CALLS = ("pwrite64", "fdatasync")
"""How SQLite writes its file and its write-ahead log, and how it makes them last."""

ERRORS = ("error=EIO", "error=ENOSPC")
OPERATIONS = 4


async def prepared(path: Path) -> UUID:
    """Put a world with one mover and one tick into a migrated SQLite file."""
    async with ServiceContainer(f"sqlite:///{path}") as services:
        deeds = await Deeds.begin(services)
        await deeds.spawn()
        await deeds.step()
        return (await services.world_service.find("deeds")).world_id


async def every_point(path: Path, folder: Path) -> int:
    """Go through every write and sync of a writer with every fault, on a migrated file; return how many.

    A point behind the writer's last call is not felt: that ends the row. SQLite passes over an error in
    syncing the folder of a new file, so errors are tried as far as deaths were felt.
    """
    world_id = await prepared(path)
    count = 0
    for call in CALLS:
        last = 0
        while await check_point(path, folder, world_id, Fault(call, "signal=KILL", last + 1)):
            last += 1
        for effect in ERRORS:
            for number in range(1, last + 1):
                await check_point(path, folder, world_id, Fault(call, effect, number))
        count += last * (1 + len(ERRORS))
    return count


async def check_point(template: Path, folder: Path, world_id: UUID, fault: Fault) -> bool:
    """Let a fault happen on a copy of a prepared file, settle all that was asked, and check what is there.

    Returns whether the writer felt it. Raises `AssertionError` where something acknowledged is lost, or
    something is there twice or by half, and where a fault that is no death kept the writer from going on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{fault.call}-{fault.number}.db"
    shutil.copy(template, path)
    ids = [new_id() for _ in range(OPERATIONS)]
    said = await write_under(fault, f"sqlite:///{path}", world_id, ids)
    is_done = bool(said) and "done" in said[-1]
    refused = [each for each in said if "refused" in each]
    assert all(each["refused"] == "unavailable" for each in refused), refused
    if "error" in fault.effect:
        assert is_done, f"{fault} ended the writer"
        assert len(refused) <= 1, f"{fault} was felt again and again: {refused}"
    told = {UUID(each["id"]): each["told"] for each in said if "told" in each}
    async with ServiceContainer(f"sqlite:///{path}") as services:
        settled = {each: await _settle(services, world_id, number, each) for number, each in enumerate(ids)}
        assert told.items() <= settled.items(), f"{fault}: {told} was told, and then {settled}"
        await _check(services, world_id, ids)
    for each in folder.glob(f"{path.name}*"):
        each.unlink()
    return bool(refused) or not is_done


async def _settle(services: ServiceContainer, world_id: UUID, number: int, command_id: UUID) -> list[Any]:
    """Ask for an operation of the writer's once more."""
    if number % 2 == 0:
        request = CommandRequest("spawn", SPAWN, id=command_id)
        receipt = await services.command_service.submit(world_id, request)
        return [receipt.position, receipt.version, receipt.tick, receipt.first_entity_id]
    run = RunRequest(steps=number, command_id=command_id)
    result = await services.simulation_service.run(world_id, run)
    return [result.ticks_completed, result.commands_applied, result.final_tick]


async def _check(services: ServiceContainer, world_id: UUID, ids: list[UUID]) -> None:
    query = sa.text("SELECT event_id FROM events WHERE kind = 'command'")
    found = await services.database.read(lambda connection: connection.scalars(query).all())
    assert sorted(each for each in found if UUID(each) in ids) == sorted(map(str, ids))
    world = await services.world_service.find(world_id)
    assert world.tick == 1 + sum(number for number in range(OPERATIONS) if number % 2)
    report = await verify(services.database)
    assert report.is_sound, report.faults
    replay = await services.replay_service.replay(world)
    assert replay.divergence is None, replay.divergence
