"""Calls that follow the log as it grows, over as many connections as it takes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing

from archetype.client import answers
from archetype.client.calls import Calls, path_of
from archetype.client.sse import server_events

__all__ = ["FeedCalls"]

SILENCE_S = 45.0
"""A server that says nothing for as long as three heartbeats is gone, though the connection may not know."""


class FeedCalls(Calls):
    """The calls that follow the log.

    What they return asks again when its connection breaks or its server is started anew, and goes on behind
    the last event: none is missed, none comes twice. A server that stays away is an `UnavailableError`.
    """

    def events(
        self,
        world: str,
        after: int | None = None,
        *,
        kinds: Sequence[str] | None = None,
        types: Sequence[str] | None = None,
        follow: bool = True,
    ) -> Iterator[answers.Event]:
        """Go through the events of a world's own log behind a position, by default those that come now.

        It ends when the world is removed; without `follow`, at the log's end. `kinds` are command and fact.
        """
        return self._events(path_of(world, "events"), after, kinds, types, follow=follow)

    def log_events(
        self,
        after: int | None = None,
        *,
        kinds: Sequence[str] | None = None,
        types: Sequence[str] | None = None,
        follow: bool = True,
    ) -> Iterator[answers.Event]:
        """Go through the events of all worlds behind a position, as `events` does for one."""
        return self._events("/events", after, kinds, types, follow=follow)

    def _events(
        self,
        path: str,
        place: int | None,
        kinds: Sequence[str] | None,
        types: Sequence[str] | None,
        *,
        follow: bool,
    ) -> Iterator[answers.Event]:
        params = {
            "after": place,
            "kinds": None if kinds is None else ",".join(kinds),
            "types": None if types is None else ",".join(types),
            "follow": None if follow else "false",
        }
        turns_in_vain = 0
        while True:
            headers = {} if place is None else {"Last-Event-ID": str(place)}
            response = self._transport.open(path, params=params, headers=headers, silence_s=SILENCE_S)
            before = place
            with closing(response):
                if response.status_code == 204:
                    return
                # A name may be another world's by the time of the next request; an id may not.
                path = response.headers.get("Content-Location", path)
                for event in server_events(response):
                    if event.id is None:
                        continue
                    place = int(event.id)
                    if event.data is not None:
                        yield json.loads(event.data)
            turns_in_vain = turns_in_vain + 1 if place == before else 0
            if turns_in_vain:
                self._transport.pause(turns_in_vain)
