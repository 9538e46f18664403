"""What a processor may touch, as it declared."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from archetype.core.component import Component
from archetype.errors import AccessViolationError

__all__ = ["Rights"]


@dataclass(frozen=True, slots=True)
class Rights:
    """Components by name that a processor may read and write, None for all; what it writes it may read.

    A declaration that names the class `Component` itself names every component.
    """

    reads: frozenset[str] | None = None
    writes: frozenset[str] | None = None

    @classmethod
    def declared(
        cls, reads: Collection[type[Component]] | None, writes: Collection[type[Component]] | None
    ) -> Rights:
        """Give the rights that a declaration grants: all if it names nothing, else only what it names."""
        if reads is None and writes is None:
            return cls()
        read, written = _granted(reads or ()), _granted(writes or ())
        return cls(None if read is None or written is None else read | written, written)

    @property
    def is_full(self) -> bool:
        """Whether nothing is forbidden."""
        return self.reads is None and self.writes is None

    def may_read(self, component: str) -> bool:
        """Say whether a component may be read."""
        return self.reads is None or component in self.reads

    def may_write(self, component: str) -> bool:
        """Say whether a component may be written."""
        return self.writes is None or component in self.writes

    def require_read(self, processor: str, component: str) -> None:
        """Raise AccessViolationError unless a component may be read."""
        if not self.may_read(component):
            raise _violation(processor, component, "read", self.reads)

    def require_write(self, processor: str, component: str) -> None:
        """Raise AccessViolationError unless a component may be written."""
        if not self.may_write(component):
            raise _violation(processor, component, "write", self.writes)

    def require_any_write(self, processor: str, action: str) -> None:
        """Raise AccessViolationError if nothing may be written; `action` is what that forbids."""
        if self.writes is not None and not self.writes:
            raise AccessViolationError(
                f"Processor {processor} may not {action} an entity: it writes nothing. "
                "Add a component to writes where it is declared.",
                processor=processor,
                component=None,
                access="write",
            )


def _granted(kinds: Collection[type[Component]]) -> frozenset[str] | None:
    return None if Component in kinds else frozenset(kind.__name__ for kind in kinds)


def _violation(
    processor: str, component: str, access: str, granted: frozenset[str] | None
) -> AccessViolationError:
    named = ", ".join(sorted(granted or ())) or "nothing"
    return AccessViolationError(
        f"Processor {processor} may not {access} {component}: its {access}s are {named}. "
        f"Add {component} to {access}s where it is declared.",
        processor=processor,
        component=component,
        access=access,
    )
