"""Schedulers: how a world's processors are put into groups, and how the groups are run."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from pydantic import BaseModel, ValidationError

from archetype.core.faults import field_faults, listed
from archetype.core.parameters import build_recorded
from archetype.core.recorded import class_fingerprint
from archetype.core.scheduling.builders import (
    ExecutionGroupBuilder,
    PriorityGroupBuilder,
    is_builder,
    kept_parameters,
)
from archetype.core.scheduling.policy import SchedulerConfig
from archetype.core.scheduling.settings import (
    BUILT_IN_BUILDERS,
    BuilderSettings,
    SchedulerSettings,
    is_builder_form,
    loaded_builder,
    map_parts,
    named_class,
)
from archetype.errors import CodeChangedError, CodeNotLoadedError, FieldFault, InvalidInputError

__all__ = ["SequentialScheduler", "SimpleScheduler", "scheduler_from", "settings_of"]


class SimpleScheduler:
    """Runs a group's processors at once, as far as its config lets it; by default groups are priorities.

    Two are equal if they are recorded in the same way. Raises InvalidInputError on what is no builder, and
    on one that cannot be recorded.
    """

    __slots__ = ("_config", "_group_builder", "_settings")

    def __init__(
        self, config: SchedulerConfig | None = None, group_builder: ExecutionGroupBuilder | None = None
    ) -> None:
        self._config = SchedulerConfig() if config is None else config
        self._group_builder = PriorityGroupBuilder() if group_builder is None else group_builder
        self._settings = _settings(self._config, self._group_builder)

    @property
    def config(self) -> SchedulerConfig:
        """How many run at once, what is tried again, what becomes of conflicts."""
        return self._config

    @property
    def group_builder(self) -> ExecutionGroupBuilder:
        """What puts processors into groups."""
        return self._group_builder

    @property
    def settings(self) -> SchedulerSettings:
        """How it stands in the log."""
        return self._settings

    def __eq__(self, other: object) -> bool:
        return self._settings == other._settings if isinstance(other, SimpleScheduler) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._settings.model_dump_json(exclude_defaults=True))

    def __repr__(self) -> str:
        given: list[str] = []
        if self._config != SchedulerConfig():
            given.append(f"config={_spelled(self._config)}")
        if self._group_builder != PriorityGroupBuilder():
            given.append(f"group_builder={self._group_builder!r}")
        return f"SimpleScheduler({', '.join(given)})"


class SequentialScheduler(SimpleScheduler):
    """A SimpleScheduler that runs one processor at a time; those of a group still see one state."""

    __slots__ = ()

    def __init__(self, group_builder: ExecutionGroupBuilder | None = None) -> None:
        super().__init__(SchedulerConfig(max_concurrent=1), group_builder)


def _spelled(model: BaseModel) -> str:
    """Spell a config as it is written, defaults left out."""
    default = type(model)()
    given = [
        f"{name}={_spelled(value) if isinstance(value, BaseModel) else repr(value)}"
        for name, value in model
        if value != getattr(default, name)
    ]
    return f"{type(model).__name__}({', '.join(given)})"


def settings_of(scheduler: SimpleScheduler) -> SchedulerSettings:
    """Give a scheduler as it stands in the log."""
    return scheduler.settings


def scheduler_from(settings: SchedulerSettings) -> SimpleScheduler:
    """Build a recorded scheduler.

    Raises CodeNotLoadedError where a builder's class is not loaded, CodeChangedError where its source is
    not the recorded one, and InvalidInputError, with the path of its parameters, where they do not fit it.
    """
    config = SchedulerConfig(**{name: getattr(settings, name) for name in SchedulerConfig.model_fields})
    return SimpleScheduler(config, _built(settings.group_builder, "group_builder"))


def _settings(config: Any, builder: Any) -> SchedulerSettings:
    if not isinstance(config, SchedulerConfig):
        raise InvalidInputError(f"A scheduler's config is a SchedulerConfig, not {config!r}.")
    recorded = BuilderSettings.model_validate(_recorded(builder))
    return SchedulerSettings(**dict(config), group_builder=recorded)


def _recorded(builder: Any) -> dict[str, Any]:
    """Give the form in which a builder is recorded."""
    kind: type[Any] = type(builder)
    if isinstance(builder, type):
        raise InvalidInputError(f"{builder.__name__} is a class; pass an instance: {builder.__name__}().")
    named = named_class(kind)
    if "fingerprint" in named and loaded_builder(named["name"]) is not kind:
        raise InvalidInputError(
            f"{kind.__name__} cannot be a group builder: it must have build(systems, context) or "
            "build(systems), and stand at the top level of a module, where it is found again by its name."
        )
    parameters = map_parts(_parameters(builder), is_builder, _recorded)
    try:
        settings = BuilderSettings(**named, parameters=parameters)  # pyright: ignore[reportArgumentType]
    except ValidationError as exc:
        faults = field_faults(exc)
        raise InvalidInputError(
            f"{kind.__name__} cannot be recorded: {listed(faults)}", faults=faults
        ) from None
    return settings.model_dump(exclude_defaults=True)


def _parameters(builder: Any) -> dict[str, Any]:
    kept = kept_parameters(builder)
    if kept is not None:
        return kept
    if dataclasses.is_dataclass(builder):
        return {each.name: getattr(builder, each.name) for each in dataclasses.fields(builder) if each.init}
    name = type(builder).__name__
    if inspect.signature(type(builder)).parameters:
        raise InvalidInputError(
            f"What {name} was made with is not known, so it cannot be recorded: let it inherit from "
            "ExecutionGroupBuilder, or make it a dataclass."
        )
    return {}


def _built(settings: BuilderSettings, path: str) -> Any:
    kind = BUILT_IN_BUILDERS.get(settings.name) or _recorded_class(settings)
    parameters = {
        name: map_parts(
            value,
            is_builder_form,
            lambda form, at=f"{path}.parameters.{name}": _built(BuilderSettings.model_validate(form), at),
        )
        for name, value in settings.parameters.items()
    }
    try:
        return build_recorded(kind, parameters)
    except InvalidInputError as exc:
        if exc.faults:
            raise
        fault = FieldFault(f"{path}.parameters", exc.message)
        raise InvalidInputError(exc.message, faults=[fault]) from exc


def _recorded_class(settings: BuilderSettings) -> type[Any]:
    name = settings.name
    kind = loaded_builder(name)
    if kind is None:
        raise CodeNotLoadedError(
            f"Group builder {name!r} is recorded, but not loaded. Start the server with --module MODULE, or "
            "name its module in ARCHETYPE_MODULES.",
            name=name,
            module=name.rpartition(".")[0] or None,
        )
    loaded = class_fingerprint(kind)
    if loaded != settings.fingerprint:
        raise CodeChangedError(
            f"The code of group builder {name!r} is not the recorded one ({loaded[:12]} is loaded, "
            f"{(settings.fingerprint or 'none')[:12]} is recorded): configure the world's scheduler anew to "
            "take the new code, or load the version that is recorded.",
            name=name,
            recorded=settings.fingerprint,
            loaded=loaded,
        )
    return kind
