"""The rules by which several writes of a component become one, as its class declares them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from archetype.core.combine import Operation, combines
from archetype.core.component import Component
from archetype.errors import ComponentError

__all__ = ["LAST_WRITER_WINS", "MergeRule", "Rules", "rule_of"]


@dataclass(frozen=True, slots=True)
class MergeRule:
    """How writes of one component meet.

    `operations` has, by column, what combines two writes of a cell; of other columns the last write stays.
    With `is_whole` a write of one field is one of the whole component. `combining` is the class whose
    `__combine__` makes one component of two.
    """

    operations: Mapping[str, Operation] = field(default_factory=dict[str, Operation])
    is_whole: bool = False
    combining: type[Component] | None = None


LAST_WRITER_WINS = MergeRule()


def rule_of(component: str, columns: Sequence[pa.Field] | None = None) -> MergeRule:
    """Give the rule of the loaded class of that name.

    The last writer wins where no class of that name is loaded, or several are, or where the class has other
    columns than `columns`, those of the table.
    """
    try:
        kind = Component.find_type(component)
    except ComponentError:
        return LAST_WRITER_WINS
    if kind is None or (columns is not None and list(kind.get_prefixed_schema()) != list(columns)):
        return LAST_WRITER_WINS
    marked: dict[str, Operation] = {}
    for each in kind.layout().fields:
        if each.operation is not None:
            marked[each.column] = each.operation
    if combines(kind):
        return MergeRule(is_whole=True, combining=kind)
    return MergeRule(marked, is_whole=kind.merge_unit == "component")


class Rules:
    """The rules of one fold, each looked up once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, tuple[pa.Field, ...]], MergeRule] = {}

    def of(self, component: str, columns: Sequence[pa.Field]) -> MergeRule:
        """Give the rule of a component with these columns."""
        key = (component, tuple(columns))
        rule = self._known.get(key)
        if rule is None:
            rule = self._known[key] = rule_of(component, columns)
        return rule
