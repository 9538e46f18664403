"""What a script hands over, checked before anything is made of it.

Each check gives the value as it is used from there on, or raises `InvalidInputError` that names the field and
what to write in its place.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterable, Mapping
from operator import index
from typing import Any, SupportsIndex, cast
from uuid import UUID

from pydantic import BaseModel

from archetype.core.component import Component
from archetype.core.processor import Processor
from archetype.core.scheduling.scheduler import SimpleScheduler
from archetype.errors import FieldFault, InvalidInputError
from archetype.runtime.adopting import adoptions
from archetype.service.admission import admit
from archetype.service.program import Program
from archetype.service.resource_records import ResourceRecord

__all__ = [
    "check_program",
    "checked_components",
    "checked_inputs",
    "checked_name",
    "checked_number",
    "checked_numbers",
    "checked_processor",
    "checked_processors",
    "checked_resources",
    "checked_scheduler",
    "checked_steps",
    "component_names",
    "component_rows",
    "optional_number",
    "processor_name",
]

_NO_WORLD = UUID(int=0)


def checked_name(name: Any) -> str:
    """Give a world's name, which is text; which text is for the door to say."""
    if not isinstance(name, str):
        raise _refused("name", f'must be text, not {_named(name)}; write "demo"')
    return name


def checked_number(field: str, value: Any) -> int:
    """Give a whole number, also one of NumPy's; which ones are allowed is for the door to say."""
    if not isinstance(value, SupportsIndex) or isinstance(value, bool):
        raise _refused(field, f"must be a whole number, not {_named(value)}")
    return index(value)


def optional_number(field: str, value: Any) -> int | None:
    """Give a whole number, or None."""
    return None if value is None else checked_number(field, value)


def checked_numbers(field: str, values: Any) -> list[int] | None:
    """Give whole numbers, or None."""
    if values is None:
        return None
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        msg = f"must be a list of whole numbers, not {_named(values)}; write {field}=[1, 2]"
        raise _refused(field, msg)
    return [checked_number(field, each) for each in cast("Iterable[Any]", values)]


def checked_steps(steps: Any) -> int:
    """Give a number of ticks to run."""
    count = checked_number("steps", steps)
    if count < 0:
        raise _refused("steps", f"must be 0 or more, not {count}")
    return count


def checked_inputs(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Give a run's inputs, none of which has a name that was surely meant for its number of ticks."""
    for name in ("step", "num_steps"):
        if name in inputs:
            raise _refused(name, f"is no option, and no name for an input; write run(steps={inputs[name]!r})")
    return dict(inputs)


def checked_processors(processors: Any) -> tuple[Processor, ...]:
    """Give the processors of a world, each one an instance."""
    if isinstance(processors, Processor | type | str) or not isinstance(processors, Iterable):
        raise _refused("processors", f"must be a list of processors, not {_named(processors)}")
    return tuple(checked_processor(each) for each in cast("Iterable[Any]", processors))


def checked_processor(processor: Any) -> Processor:
    """Give a processor, which is an instance: its constructor's arguments are recorded."""
    if isinstance(processor, Processor):
        return processor
    if isinstance(processor, type) and issubclass(processor, Processor):
        name = processor.__name__
        raise _refused("processors", f"must hold instances, and {name} is a class; pass {name}()")
    msg = f"must hold processors, and {_named(processor)} is none; derive its class from AsyncProcessor"
    if inspect.isfunction(processor):
        msg = f"must hold processors, and {processor.__name__} is a function; decorate it with @system"
    raise _refused("processors", msg)


def processor_name(processor: Any) -> str:
    """Give the name of a processor, which is given as such, as its class or as that name."""
    if isinstance(processor, str):
        return processor
    if isinstance(processor, Processor) or (isinstance(processor, type) and issubclass(processor, Processor)):
        return processor.processor_name()
    raise _refused("processor", f"must be a processor, its class or its name, not {_named(processor)}")


def check_program(processors: Iterable[Processor]) -> None:
    """Raise what the door would say of a new world's processors, while there is no such world yet."""
    for request in adoptions(tuple(processors), Program()):
        admit(request, world_id=_NO_WORLD, actor_id=None)


def checked_resources(resources: Any) -> tuple[object, ...]:
    """Give the resources of a world: instances, of which the Pydantic models can be recorded."""
    if isinstance(resources, BaseModel | type | str) or not isinstance(resources, Iterable):
        raise _refused("resources", f"must be a list of objects, not {_named(resources)}")
    given = tuple(cast("Iterable[object]", resources))
    for each in given:
        if isinstance(each, type):
            name = each.__name__
            raise _refused("resources", f"must hold instances, and {name} is a class; pass {name}(…)")
        if isinstance(each, BaseModel):
            ResourceRecord.of(each)
    return given


def checked_scheduler(scheduler: Any) -> SimpleScheduler | None:
    """Give a scheduler, or None."""
    if scheduler is None or isinstance(scheduler, SimpleScheduler):
        return scheduler
    if isinstance(scheduler, type) and issubclass(scheduler, SimpleScheduler):
        name = scheduler.__name__
        raise _refused("scheduler", f"must be an instance, and {name} is a class; pass {name}()")
    msg = f"must be a scheduler, not {_named(scheduler)}; pass archetype.scheduling's SimpleScheduler(…)"
    raise _refused("scheduler", msg)


def checked_components(components: Iterable[Any], example: str = "spawn(Position(x=1))") -> list[Component]:
    """Give components, each one an instance."""
    given = list(components)
    for each in given:
        if not isinstance(each, Component):
            msg = f"must be component instances, and {_named(each)} is none; write {example}"
            raise _refused("components", msg)
    return given


def component_rows(rows: Collection[Any]) -> list[list[Component]]:
    """Give the components of many entities, a list for each."""
    example = "spawn_many([[Position(x=1)], [Position(x=2)]])"
    for place, row in enumerate(rows):
        if isinstance(row, Component | type | str | Mapping) or not isinstance(row, Collection):
            msg = f"must be a list of component lists, one for each entity, and rows[{place}] is "
            raise _refused("rows", f"{msg}{_named(row)}; write {example}")
    return [checked_components(row, example) for row in rows]


def component_names(types: Iterable[Any]) -> list[str]:
    """Give the names of component types, which may be given as such."""
    names: list[str] = []
    for each in types:
        if not isinstance(each, str) and not (isinstance(each, type) and issubclass(each, Component)):
            msg = (
                f"must be component classes or their names, and {_named(each)} is none; write query(Position)"
            )
            raise _refused("types", msg)
        names.append(each if isinstance(each, str) else each.__name__)
    return names


def _named(value: Any) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, str | int | float | None):
        return repr(value)
    return f"a {type(value).__name__} object"


def _refused(field: str, message: str) -> InvalidInputError:
    return InvalidInputError(f"{field} {message}", faults=[FieldFault(field, message)])
