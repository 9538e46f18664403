"""Group commit: what queued while the last commit was under way goes into the next one, without a timer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from uuid import UUID

from archetype.errors import OverloadedError
from archetype.store.database import Database
from archetype.store.log import APPEND_SQL, Answer, NewCommand, append, append_parameters, to_answers

__all__ = ["Appender"]

QUEUE_COMMANDS_MAX = 20_000
"""Commands that may wait; at 15,000 a second this is about what a caller waits for with patience."""

FLUSH_COMMANDS_MAX = 1_000
FLUSH_BYTES_MAX = 8 * 1024 * 1024


class _Request:
    """One group that waits for its answers."""

    __slots__ = ("answers", "expected_version", "group", "needs_own_call", "size_bytes")

    def __init__(
        self, group: Sequence[NewCommand], expected_version: int | None, answers: asyncio.Future[list[Answer]]
    ) -> None:
        self.group = group
        self.expected_version = expected_version
        self.answers = answers
        self.needs_own_call = expected_version is not None
        self.size_bytes = 0
        for command in group:
            self.size_bytes += len(command.payload) + len(command.batch or b"")
            self.needs_own_call |= command.entity_id is not None


class Appender:
    """The one way in: hands groups of commands to the database, many callers to a transaction."""

    def __init__(self, database: Database, *, queue_commands_max: int = QUEUE_COMMANDS_MAX) -> None:
        self._database = database
        self._queue: deque[_Request] = deque()
        self._queued = 0
        self._queue_max = queue_commands_max
        self._flusher: asyncio.Task[None] | None = None

    @property
    def queue_depth(self) -> int:
        """Commands that wait now."""
        return self._queued

    async def append(
        self, group: Sequence[NewCommand], *, expected_version: int | None = None
    ) -> list[Answer]:
        """Append a group, all or nothing, and answer each command once it is durable.

        Raises `OverloadedError` when the queue is full, before anything is queued. When the caller is
        cancelled, the group may be accepted all the same: a retry with the same ids tells.
        """
        if not group:
            return []
        if self._queued + len(group) > self._queue_max:
            msg = f"{self._queued} commands wait already; try again in a second"
            raise OverloadedError(msg, retry_after_s=1.0, queue_depth=self._queued)
        request = _Request(group, expected_version, asyncio.get_running_loop().create_future())
        self._queue.append(request)
        self._queued += len(group)
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush(), name="archetype-appender")
        return await request.answers

    async def close(self) -> None:
        """Wait until everything that queued is answered."""
        if self._flusher is not None:
            await asyncio.shield(self._flusher)

    async def _flush(self) -> None:
        while self._queue:
            # One turn of the loop: callers that were just answered may queue their next, and join this flush.
            await asyncio.sleep(0)
            requests = self._take()
            try:
                answers = await self._send(requests)
            except Exception as error:  # noqa: BLE001  it belongs to the callers, whatever it is
                for request in requests:
                    if not request.answers.done():
                        request.answers.set_exception(error)
                continue
            start = 0
            for request in requests:
                stop = start + len(request.group)
                if not request.answers.done():
                    request.answers.set_result(answers[start:stop])
                start = stop
        self._flusher = None

    def _take(self) -> list[_Request]:
        """Take the next flush off the queue: within the limits, and no command id twice."""
        taken: list[_Request] = []
        ids: set[UUID] = set()
        count = size_bytes = 0
        while self._queue:
            request = self._queue[0]
            count += len(request.group)
            size_bytes += request.size_bytes
            is_over = count > FLUSH_COMMANDS_MAX or size_bytes > FLUSH_BYTES_MAX
            if taken and (is_over or request.needs_own_call):
                break
            own_ids = [command.event_id for command in request.group]
            if not ids.isdisjoint(own_ids):
                break
            ids.update(own_ids)
            taken.append(self._queue.popleft())
            self._queued -= len(request.group)
            if request.needs_own_call:
                break
        return taken

    async def _send(self, requests: Sequence[_Request]) -> list[Answer]:
        groups = [request.group for request in requests]
        expected_version = requests[0].expected_version
        if self._database.is_sqlite:
            return await self._database.write(lambda connection: append(connection, groups, expected_version))
        rows = await self._database.call(APPEND_SQL, append_parameters(groups, expected_version))
        return to_answers(rows)
