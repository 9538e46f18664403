"""Group commit: what queued while the last commit was under way goes into the next one, without a timer."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Sequence
from uuid import UUID

from archetype.clock import monotonic_s
from archetype.errors import OverloadedError
from archetype.limits import QUEUE_BYTES_MAX, QUEUE_COMMANDS_MAX
from archetype.service.observing import FlushSeen, Observer
from archetype.store.acceptance import Answer, NewCommand
from archetype.store.append import APPEND_SQL, append, append_parameters, to_answers
from archetype.store.database import Database

__all__ = ["Appender"]

FLUSH_COMMANDS_MAX = 4_000
FLUSH_SHARE_MIN = 32
FLUSHERS_MAX = 2
"""On PostgreSQL, while the server commits one flush, the callers of the other prepare their next commands.
On SQLite both would run in this process, and only hinder each other."""

FLUSH_BYTES_MAX = 8 * 1024 * 1024


class _Request:
    """One group that waits for its answers, since when, and for whom."""

    __slots__ = (
        "answers",
        "caller",
        "expected_version",
        "group",
        "needs_own_call",
        "queued_at_s",
        "size_bytes",
    )

    def __init__(
        self,
        group: Sequence[NewCommand],
        expected_version: int | None,
        answers: asyncio.Future[list[Answer]],
        caller: object,
    ) -> None:
        self.group = group
        self.caller = caller
        self.queued_at_s = monotonic_s()
        self.expected_version = expected_version
        self.answers = answers
        self.needs_own_call = expected_version is not None
        self.size_bytes = 0
        for command in group:
            # Its size in memory: a payload that is not ASCII takes up to four bytes a character.
            self.size_bytes += sys.getsizeof(command.payload) + len(command.batch or b"")
            self.needs_own_call |= command.entity_id is not None


class Appender:
    """The one way in: hands groups of commands to the database, many callers to a transaction."""

    def __init__(
        self,
        database: Database,
        *,
        queue_commands_max: int = QUEUE_COMMANDS_MAX,
        queue_bytes_max: int = QUEUE_BYTES_MAX,
        observer: Observer | None = None,
    ) -> None:
        self._database = database
        self._observer = observer or Observer()
        self._queue: deque[_Request] = deque()
        self._queued = 0
        self._queued_bytes = 0
        self._queue_max = queue_commands_max
        self._queue_bytes_max = queue_bytes_max
        self._flushers_max = 1 if database.is_sqlite else FLUSHERS_MAX
        self._flushing = 0
        self._flushers: set[asyncio.Task[None]] = set()

    @property
    def queue_depth(self) -> int:
        """Commands that wait now."""
        return self._queued

    async def append(
        self, group: Sequence[NewCommand], *, expected_version: int | None = None
    ) -> list[Answer]:
        """Append a group, all or nothing, and answer each command once it is durable.

        Raises `OverloadedError` when the queue is full, in commands or in bytes, before anything is queued;
        the bytes of one that waits alone always fit. When the caller is cancelled, the group may be accepted
        all the same: a retry with the same ids tells.
        """
        if not group:
            return []
        answers = asyncio.get_running_loop().create_future()
        request = _Request(group, expected_version, answers, self._observer.caller())
        self._require_room(request)
        self._queue.append(request)
        self._queued += len(group)
        self._queued_bytes += request.size_bytes
        self._start_flusher()
        return await request.answers

    async def close(self) -> None:
        """Wait until everything that queued is answered."""
        while self._flushers:
            await asyncio.wait(self._flushers)

    def _require_room(self, request: _Request) -> None:
        is_over = self._queued + len(request.group) > self._queue_max
        if self._queue:
            is_over |= self._queued_bytes + request.size_bytes > self._queue_bytes_max
        if is_over:
            msg = f"{self._queued} commands of {self._queued_bytes} bytes wait already; try again in a second"
            raise OverloadedError(msg, retry_after_s=1.0, queue_depth=self._queued)

    def _start_flusher(self) -> None:
        if self._flushing < self._flushers_max:
            self._flushing += 1
            flusher = asyncio.create_task(self._flush_all(), name="archetype-appender")
            self._flushers.add(flusher)
            flusher.add_done_callback(self._flushers.discard)

    async def _flush_all(self) -> None:
        try:
            while self._queue:
                # One turn of the loop: callers that were just answered may queue their next command and
                # join this flush.
                await asyncio.sleep(0)
                requests = self._take()
                if self._queue:
                    self._start_flusher()
                await self._flush(requests)
        finally:
            # At once, and not when the task is found to be done: a caller must never count on a flusher
            # that has seen an empty queue.
            self._flushing -= 1

    async def _flush(self, requests: Sequence[_Request]) -> None:
        """Send one flush and answer its callers, each for itself."""
        started_at_s = monotonic_s()
        try:
            answers = await self._send(requests)
        except Exception as error:  # noqa: BLE001  it belongs to the callers, whatever it is
            self._tell(requests, started_at_s, is_committed=False)
            for request in requests:
                if not request.answers.done():
                    request.answers.set_exception(error)
            return
        self._tell(requests, started_at_s, is_committed=True)
        start = 0
        for request in requests:
            stop = start + len(request.group)
            if not request.answers.done():
                request.answers.set_result(answers[start:stop])
            start = stop

    def _tell(self, requests: Sequence[_Request], started_at_s: float, *, is_committed: bool) -> None:
        if requests:
            seen = FlushSeen(
                command_count=sum(len(request.group) for request in requests),
                queued_at_s=requests[0].queued_at_s,
                started_at_s=started_at_s,
                ended_at_s=monotonic_s(),
                callers=[request.caller for request in requests if request.caller is not None],
                is_committed=is_committed,
            )
            self._observer.flushed(seen)

    def _take(self) -> list[_Request]:
        """Take the next flush off the queue: within the limits, and no command id twice."""
        taken: list[_Request] = []
        share = len(self._queue)
        if self._flushing < self._flushers_max and share > FLUSH_SHARE_MIN:
            share = -(-share // self._flushers_max)  # the rest is for the flusher that is free
        ids: set[UUID] = set()
        count = size_bytes = 0
        while self._queue and len(taken) < share:
            request = self._queue[0]
            count += len(request.group)
            size_bytes += request.size_bytes
            is_over = count > FLUSH_COMMANDS_MAX or size_bytes > FLUSH_BYTES_MAX
            if taken and (is_over or request.needs_own_call):
                break
            own_ids = {command.event_id for command in request.group}
            if not ids.isdisjoint(own_ids):
                break
            ids |= own_ids
            taken.append(self._queue.popleft())
            self._queued -= len(request.group)
            self._queued_bytes -= request.size_bytes
            if request.needs_own_call:
                break
        return taken

    async def _send(self, requests: Sequence[_Request]) -> list[Answer]:
        if not requests:
            return []
        groups = [request.group for request in requests]
        expected_version = requests[0].expected_version
        if self._database.is_sqlite:
            return await self._database.write(lambda connection: append(connection, groups, expected_version))
        rows = await self._database.call(APPEND_SQL, append_parameters(groups, expected_version))
        return to_answers(rows)
