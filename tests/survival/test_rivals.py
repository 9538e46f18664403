"""Several server processes over one database, and what becomes of one that dies, or sleeps too long."""

import asyncio

import httpx

from survival.invariants import check
from survival.load import ANSWER_TIMEOUT_S, Load
from survival.rivals import rivalry
from survival.server import serving


async def test_several_servers_are_one_log(database_url):
    """One order for all, whoever is asked; what one has answered, each shows; a dead one's worlds go on."""
    server_count = 2 if database_url.startswith("sqlite") else 3
    load, reading_count = await rivalry(
        database_url, seed=3, server_count=server_count, operations=10, kill_after=15
    )
    assert len(load.journal.acknowledged) >= 30
    assert reading_count > 0


async def test_a_server_that_slept_cannot_commit_what_another_has_taken_over(postgres_database_url):
    """Paused in the middle of a run, it is passed over once its lease has ended; awake again, it serves."""
    load = Load(4, client_count=1)
    client = load.clients[0]
    async with (
        serving(postgres_database_url) as sleeper,
        serving(postgres_database_url) as other,
        httpx.AsyncClient(timeout=ANSWER_TIMEOUT_S) as http,
    ):
        await load.work(sleeper.url, count=4)
        run = client.plan_run(200)
        (answer,) = await client.retry([sleeper.url], [run])
        url = f"{other.url}/runs/{answer['run_id']}"
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            while (await http.get(url)).json()["ticks_completed"] == 0:
                await asyncio.sleep(0)
            sleeper.pause()
            slept_at = (await http.get(url)).json()["ticks_completed"]
            assert slept_at < 200
            while (await http.get(url)).json()["status"] != "completed":
                await asyncio.sleep(0.1)
        sleeper.wake()
        await load.work(sleeper.url, count=4)
        await load.finish(sleeper.url)
    await check(postgres_database_url, load.journal)
