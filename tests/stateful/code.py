"""What the worlds of the machine are made of."""

from __future__ import annotations

from pydantic import BaseModel

from archetype.core.component import Component
from archetype.core.scheduling.access import Access
from archetype.core.scheduling.system import System


class ModelLevel(Component):
    """Grows with every tick."""

    value: int = 0
    heard: int = 0


class ModelMark(Component):
    """Stays as it is."""

    text: str = ""


class ModelPace(BaseModel):
    """By how much levels grow."""

    step: int = 1


class ModelGrowing(System):
    """Lets levels grow by the pace and count messages, or falls where its inputs tell it to."""

    reads = (ModelLevel,)
    writes = (ModelLevel,)

    async def run(self, access: Access) -> None:
        """Grow."""
        if access.inputs.get("is_failing"):
            message = "as told"
            raise ValueError(message)
        pace = access.resources.get(ModelPace)
        step = 1 if pace is None else pace.step
        for entity_id, level in access(ModelLevel):
            heard = level.heard + len(access.inbox(entity_id))
            access[entity_id, ModelLevel] = ModelLevel(value=level.value + step, heard=heard)
