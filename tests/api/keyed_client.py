"""A client of an application that comes with the key of an actor of its own."""

from __future__ import annotations

from typing import Any

import httpx
from litestar import Litestar

from archetype.clock import new_id
from archetype.store.identities import add_actor

__all__ = ["keyed"]


async def keyed(app: Litestar, role: str | None, name: str = "ann", **options: Any) -> httpx.AsyncClient:
    """Return a client with the key of an actor of one role; an unknown one only the table takes."""
    services = app.dependencies["services"].dependency()
    world_roles = options.pop("world_roles", {})
    roles = frozenset({role} if role else ())
    await services.database.write(
        lambda connection: add_actor(connection, new_id(), name, roles=roles, world_roles=world_roles)
    )
    issued = await services.identity_service.create_key(name, **options)
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")
    client.headers["Authorization"] = f"Bearer {issued.key}"
    return client
