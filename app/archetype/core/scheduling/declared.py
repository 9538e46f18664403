"""What a processor's class declares, in the form in which it is recorded."""

from __future__ import annotations

from typing import Any

from archetype.core.processor import AsyncProcessor, ComponentTypes, Processor

__all__ = ["declarations"]


def declarations(kind: type[Processor]) -> dict[str, Any]:
    """Give what a class declares of its access and of when it runs; what is as by default is left out.

    `kind` is "system" for one that works on objects; frame processors have none.
    """
    declared: dict[str, Any] = {}
    if not issubclass(kind, AsyncProcessor):
        declared["kind"] = "system"
    for name, types in (("reads", kind.reads), ("writes", kind.writes)):
        if types is not None:
            declared[name] = _names(types)
    if kind.depends_on:
        declared["depends_on"] = [
            each if isinstance(each, str) else each.processor_name() for each in kind.depends_on
        ]
    for name in ("every", "offset", "runs_alone"):
        if getattr(kind, name) != getattr(Processor, name):
            declared[name] = getattr(kind, name)
    if kind.condition is not None:
        declared["condition"] = True
    if kind.retry_policy is not None:
        declared["retry_policy"] = kind.retry_policy.model_dump(mode="json", exclude_defaults=True)
    return declared


def _names(types: ComponentTypes) -> list[str]:
    return sorted(kind.__name__ for kind in types)
