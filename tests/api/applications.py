"""Applications over a database, worlds in them, and clients with keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import httpx
from litestar import Litestar

from archetype.api.application import create_app
from archetype.core.processor import AsyncProcessor
from archetype.examples.movement import Position
from archetype.service.container import ServiceContainer

MOVEMENT = "archetype.examples.movement"


@asynccontextmanager
async def opened(database_url: str) -> AsyncIterator[Litestar]:
    """Open the application; one task does both ends of its lifespan, as in a server."""
    app = create_app(ServiceContainer(database_url), modules=[MOVEMENT], is_loopback=True)
    ready, done = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with app.lifespan():
            ready.set()
            await done.wait()

    task = asyncio.create_task(live())
    await asyncio.wait({task, asyncio.create_task(ready.wait())}, return_when=asyncio.FIRST_COMPLETED)
    yield app
    done.set()
    await task


async def make_world(client: httpx.AsyncClient) -> str:
    """Make the world `demo`, with a mover that has id 1, and return the world's id."""
    world = (await client.post("/worlds", json={"name": "demo", "seed": 7})).json()["world_id"]
    processor = {"type": "add_processor", "payload": {"processor": "MovementProcessor"}}
    assert (await client.post(f"/worlds/{world}/commands", json=processor)).status_code == 202
    mover = {"components": [{"type": "Position", "x": 1.0}, {"type": "Velocity", "dx": 2.0}]}
    assert (await client.post(f"/worlds/{world}/entities", json=mover)).json()["entity_id"] == 1
    return world


class Latch:
    """Keeps ticks back until it is open."""

    def __init__(self) -> None:
        self.entered, self.opened = asyncio.Event(), asyncio.Event()


class Latched(AsyncProcessor):
    """Waits for the latch of its world, if there is one."""

    components = (Position,)

    async def process(self, df, *, resources, **kwargs):
        latch = resources.get(Latch)
        if latch is not None:
            latch.entered.set()
            await latch.opened.wait()
        return df


async def latched(app, client, world) -> Latch:
    latch = Latch()
    services = app.dependencies["services"].dependency()
    services.world_service.live_worlds.of(UUID(world)).resources.insert(latch)
    command = {"type": "add_processor", "payload": {"processor": "Latched"}}
    assert (await client.post(f"/worlds/{world}/commands", json=command)).status_code == 202
    return latch
