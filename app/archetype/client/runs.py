"""Calls that run ticks, and follow and cancel runs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any, Literal, overload
from uuid import UUID

from archetype.client import run_answers
from archetype.client.calls import Calls, part_of, path_of, present
from archetype.clock import new_id

__all__ = ["RunCalls"]

_FOLLOW_AGAIN_S = 0.5

RunId = UUID | str


class RunCalls(Calls):
    """The calls about steps and runs."""

    def step(
        self,
        world: str,
        *,
        inputs: Mapping[str, Any] | None = None,
        debug: bool = False,
        expected_version: int | None = None,
    ) -> run_answers.StepReport:
        """Run one tick; `inputs` reach every processor that names them."""
        body = {"inputs": dict(inputs or {}), "debug": debug}
        path = path_of(world, "step")
        return self._change("POST", path, body, waits_long=True, expected_version=expected_version)

    @overload
    def run(
        self,
        world: str,
        num_steps: int = 1,
        *,
        inputs: Mapping[str, Any] | None = None,
        debug: bool = False,
        expected_version: int | None = None,
        command_id: RunId | None = None,
        wait: Literal[True] = True,
    ) -> run_answers.RunReport: ...

    @overload
    def run(
        self,
        world: str,
        num_steps: int = 1,
        *,
        inputs: Mapping[str, Any] | None = None,
        debug: bool = False,
        expected_version: int | None = None,
        command_id: RunId | None = None,
        wait: Literal[False],
    ) -> run_answers.RunInfo: ...

    def run(
        self,
        world: str,
        num_steps: int = 1,
        *,
        inputs: Mapping[str, Any] | None = None,
        debug: bool = False,
        expected_version: int | None = None,
        command_id: RunId | None = None,
        wait: bool = True,
    ) -> run_answers.RunReport | run_answers.RunInfo:
        """Run ticks one after the other, and return once the last is durable.

        Without `wait` return as soon as the run is; see `start_run`, also for the `command_id`.
        """
        options: dict[str, Any] = {"inputs": inputs, "debug": debug, "expected_version": expected_version}
        if not wait:
            return self.start_run(world, num_steps, command_id=command_id, **options)
        headers = {"Idempotency-Key": str(command_id or new_id())}
        return self._run(world, num_steps, waits_long=True, headers=headers, **options)

    def start_run(
        self,
        world: str,
        num_steps: int = 1,
        *,
        inputs: Mapping[str, Any] | None = None,
        debug: bool = False,
        expected_version: int | None = None,
        command_id: RunId | None = None,
    ) -> run_answers.RunInfo:
        """Start a run and return as soon as it is durable: it completes whatever becomes of this client.

        With a `command_id` of your own, the same run again is started only once.
        """
        headers = {"Prefer": "respond-async", "Idempotency-Key": str(command_id or new_id())}
        return self._run(
            world,
            num_steps,
            inputs=inputs,
            debug=debug,
            expected_version=expected_version,
            headers=headers,
        )

    def run_info(self, run_id: RunId) -> run_answers.RunInfo:
        """Return a run as it is now."""
        return self._read(f"/runs/{part_of(run_id)}")

    def runs(
        self, world: str, *, limit: int | None = None, before: RunId | None = None
    ) -> list[run_answers.RunInfo]:
        """Return a world's own runs, the newest first; `before` continues behind a run's id."""
        return self._read(path_of(world, "runs"), limit=limit, before=before)

    def cancel_run(
        self, run_id: RunId, *, reason: str | None = None, expected_version: int | None = None
    ) -> run_answers.RunInfo:
        """Let a run end behind the tick that is being computed, and return it as it is now."""
        path = f"/runs/{part_of(run_id)}/cancel"
        return self._change("POST", path, present(reason=reason), expected_version=expected_version)

    def follow_run(self, run_id: RunId) -> Iterator[run_answers.RunInfo]:
        """Give a run whenever it has come further, and last of all as it ended.

        A stream that breaks is taken up where it broke, as long as the server can be reached again.
        """
        after: int | None = None
        while True:
            headers = {} if after is None else {"Last-Event-ID": str(after)}
            for kind, data in self._transport.events(f"/runs/{part_of(run_id)}/events", headers=headers):
                if kind == "closed":
                    break
                info: run_answers.RunInfo = json.loads(data)
                after = info["ticks_completed"]
                yield info
                if kind == "ended":
                    return
            time.sleep(_FOLLOW_AGAIN_S)

    def _run(
        self, world: str, num_steps: int, *, inputs: Mapping[str, Any] | None, debug: bool, **options: Any
    ) -> Any:
        body = {"num_steps": num_steps, "inputs": dict(inputs or {}), "debug": debug}
        return self._change("POST", path_of(world, "run"), body, **options)
