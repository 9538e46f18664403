"""What a changing request works with: the services, under the conditions that its headers set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from archetype.api.gate import Caller
from archetype.api.metrics import Metrics
from archetype.api.requests import Conditions, world_id_of
from archetype.api.schemas.commands import ReceiptResponse
from archetype.errors import FieldFault, InvalidInputError
from archetype.log.command import RULES, CommandType
from archetype.service.admission import CommandRequest
from archetype.service.commands import Receipt
from archetype.service.container import ServiceContainer

__all__ = ["Submitter"]


class Submitter:
    """Submits the commands of one request, under its headers; each is counted once.

    Into `noted`, the request's state, goes what its line in the log names.
    """

    def __init__(
        self,
        services: ServiceContainer,
        metrics: Metrics,
        caller: Caller,
        conditions: Conditions,
        noted: dict[str, Any],
    ) -> None:
        self.services = services
        self.metrics = metrics
        self.caller = caller
        self.conditions = conditions
        self._noted = noted

    async def permit(self, world: str, types: Iterable[str]) -> str:
        """Let commands of these types pass, and return the world as it is to be looked up.

        What is no type is left to the check of the command, which nobody may submit.
        """
        for name in dict.fromkeys(types):
            if name in RULES:
                world = await self.caller.may(CommandType(name), world)
        return world

    async def submit(self, world: str, request: CommandRequest) -> Receipt:
        """Accept one command for a world, named or by its id."""
        conditions = self.conditions
        world = await self.permit(world, [request.type])
        world_id = await world_id_of(self.services, world)
        if conditions.key is not None:
            request = request._replace(id=conditions.command_id(world_id, request.id))
        receipt = await self.services.command_service.submit(
            world_id,
            request,
            actor_id=self.caller.actor_id,
            expected_version=conditions.expected_version,
        )
        self._noted["command_id"] = receipt.command_id
        if not receipt.is_duplicate:
            self.metrics.count_commands(1)
        return receipt

    async def submit_batch(self, world: str, requests: Sequence[CommandRequest]) -> list[Receipt]:
        """Accept commands for a world, named or by its id, together or none of them."""
        world = await self.permit(world, (request.type for request in requests))
        world_id = await world_id_of(self.services, world)
        if self.conditions.key is not None:
            ids = self.conditions.batch_ids(world_id, [request.id for request in requests])
            requests = [request._replace(id=own) for request, own in zip(requests, ids, strict=True)]
        receipts = await self.services.command_service.submit_batch(
            world_id,
            requests,
            actor_id=self.caller.actor_id,
            expected_version=self.conditions.expected_version,
        )
        if receipts:
            self._noted["command_id"] = receipts[0].command_id
        self.metrics.count_commands(sum(not receipt.is_duplicate for receipt in receipts))
        return receipts

    async def entity_command(
        self,
        world: str,
        kind: str,
        payload: dict[str, Any],
        *,
        tick: int = 0,
        priority: int = 0,
    ) -> ReceiptResponse:
        """Accept a command of an entity route, where the payload's fields are the body's own."""
        try:
            receipt = await self.submit(world, CommandRequest(kind, payload, tick, priority))
        except InvalidInputError as error:
            error.faults = [
                FieldFault(fault["path"].removeprefix("payload."), fault["message"]) for fault in error.faults
            ]
            raise
        return ReceiptResponse.of(receipt, tick)
