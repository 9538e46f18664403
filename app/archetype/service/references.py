"""References: a world by its name or id, and with `@` one of its ticks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from archetype.errors import FieldFault, InvalidInputError
from archetype.log.payload_fields import is_label_name

__all__ = ["Reference"]

_TICK = re.compile(r"-?[0-9]{1,16}")


@dataclass(frozen=True, slots=True)
class Reference:
    """`demo`, an id, `demo@120`, `demo@-10` (ten ticks before the last committed one) or `demo@label`.

    Of `tick`, `back` and `label` at most one is there.
    """

    world: str
    tick: int | None = None
    back: int | None = None
    label: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a reference; what stands behind an `@` and is neither raises `InvalidInputError`."""
        world, sign, at = text.partition("@")
        if not sign:
            return cls(world)
        if _TICK.fullmatch(at):
            return cls(world, back=int(at[1:])) if at.startswith("-") else cls(world, tick=int(at))
        if is_label_name(at):
            return cls(world, label=at)
        msg = (
            f"{text!r} names no tick: behind the @ stands a tick (demo@120), how many ticks to go back "
            "from the last (demo@-10), or a label (demo@baseline)"
        )
        raise InvalidInputError(msg, faults=[FieldFault("world", msg)])

    @property
    def names_tick(self) -> bool:
        """Whether it names a tick, and not the world alone."""
        return self.tick is not None or self.back is not None or self.label is not None
