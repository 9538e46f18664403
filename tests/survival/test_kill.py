"""kill -9 of a server under load, again and again; `make soak` does it for longer."""

from survival.rounds import kill_rounds


async def test_what_was_acknowledged_survives_kills_of_the_server(database_url):
    """Exactly once, with the same answers; runs do exactly their ticks; `verify` and replays agree."""
    journal = await kill_rounds(database_url, seed=7, rounds=2)
    assert len(journal.acknowledged) > 10
    assert journal.retried_count >= len(journal.acknowledged)
