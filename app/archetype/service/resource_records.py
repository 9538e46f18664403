"""Resources that the log holds: Pydantic models by class and value, spelled as JSON and made again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import AliasChoices, AliasPath, BaseModel, ValidationError

from archetype.core.faults import field_faults, listed
from archetype.core.models import find_model
from archetype.core.registry import module_name
from archetype.errors import CodeNotLoadedError, FieldFault, InvalidInputError, PayloadError
from archetype.log.canonical import canonical_json

__all__ = ["ResourceInfo", "ResourceRecord"]


@dataclass(frozen=True)
class ResourceInfo:
    """A recorded resource as callers list it; `is_loaded` says whether its class is here."""

    name: str
    module: str
    value: Any
    is_loaded: bool


@dataclass(frozen=True)
class ResourceRecord:
    """A resource as the log holds it: its class's module and qualified name, and its value as JSON."""

    name: str
    module: str
    document: str

    @classmethod
    def of(cls, model: BaseModel) -> ResourceRecord:
        """Describe a model; `InvalidInputError` if its JSON form does not give an equal one again."""
        kind = type(model)
        try:
            value = model.model_dump(mode="json", round_trip=True, by_alias=False, warnings="error")
            document = canonical_json(value)
            is_whole = dict(_made(kind, document)) == dict(model)
        except Exception as error:
            raise _unrecordable(kind, str(error)) from error
        if not is_whole:
            raise _unrecordable(kind, "what its JSON form gives is not equal to it")
        return cls(kind.__qualname__, module_name(kind), document)

    @classmethod
    def of_value(cls, name: str, value: Any) -> ResourceRecord:
        """Describe the model of a loaded class with this JSON value; defaults are filled in.

        Raises `PayloadError` with the paths of what does not fit: `payload.resource`, `payload.value.…`.
        """
        try:
            kind = find_model(name)
        except InvalidInputError as error:
            raise _refused("payload.resource", error.message) from error
        if kind is None:
            msg = (
                f"no Pydantic model {name!r} is loaded; import its module, start the server with --module "
                "MODULE, or name the module in ARCHETYPE_MODULES"
            )
            raise _refused("payload.resource", msg)
        if unknown := _unknown(kind, value):
            faults = [FieldFault(f"payload.value.{each}", "no such field") for each in unknown]
            raise PayloadError(f"the value does not fit {name}: {listed(faults)}", faults=faults)
        try:
            return cls.of(_made(kind, canonical_json(value)))
        except ValidationError as error:
            faults = field_faults(error, "payload.value")
            raise PayloadError(f"the value does not fit {name}: {listed(faults)}", faults=faults) from None
        except InvalidInputError as error:
            raise _refused("payload.value", error.message) from error

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ResourceRecord:
        """Read one from a program document or from the payload of add_resource."""
        return cls(value["resource"], value["module"], canonical_json(value["value"]))

    def to_json(self) -> dict[str, Any]:
        """Spell it for the log."""
        return {"resource": self.name, "module": self.module, "value": self.value}

    @property
    def path(self) -> str:
        """The full name of its class, of which a world has one."""
        return f"{self.module}.{self.name}"

    @property
    def value(self) -> Any:
        """The value, parsed."""
        return json.loads(self.document)

    def is_named(self, name: str) -> bool:
        """Say whether it goes by a plain name, `module.Name` or full name."""
        plain = self.name.rpartition(".")[2]
        return name in {self.path, self.name, plain, f"{self.module}.{plain}"}

    def kind(self) -> type[BaseModel]:
        """Return its class; `CodeNotLoadedError` names the module to load where it is missing."""
        found = find_model(self.path)
        if found is None:
            msg = (
                f"resource {self.name!r} is recorded but its class is not loaded: import {self.module}, or "
                f"give --module {self.module} (or ARCHETYPE_MODULES={self.module})"
            )
            raise CodeNotLoadedError(msg, name=self.name, module=self.module)
        return found

    def build(self) -> BaseModel:
        """Make the model; raises `CodeNotLoadedError`, also where the value fits its class no more."""
        try:
            return _made(self.kind(), self.document)
        except ValidationError as error:
            msg = f"resource {self.name!r} is recorded with a value that its class refuses: {error}"
            raise CodeNotLoadedError(msg, name=self.name, module=self.module) from error

    def info(self) -> ResourceInfo:
        """Describe it for callers."""
        return ResourceInfo(self.name, self.module, self.value, find_model(self.path) is not None)


def _unknown(kind: type[BaseModel], value: Any) -> list[str]:
    """Give the names in a value that its class has no field for, unless it says what becomes of them."""
    if not isinstance(value, dict) or "extra" in kind.model_config:
        return []
    known = set(kind.model_fields)
    for field in kind.model_fields.values():
        given = field.validation_alias
        aliases = given.choices if isinstance(given, AliasChoices) else [given]
        known |= {
            each.path[0] if isinstance(each, AliasPath) else each for each in aliases if each is not None
        }
    return sorted(str(each) for each in value if each not in known)


def _made(kind: type[BaseModel], document: str) -> BaseModel:
    return kind.model_validate_json(document, by_alias=True, by_name=True)


def _unrecordable(kind: type[BaseModel], why: str) -> InvalidInputError:
    msg = (
        f"the resource {kind.__name__} cannot be recorded: {why}. Give it fields that have a JSON form, or "
        "keep it as a live handle, in a class that is no Pydantic model"
    )
    return InvalidInputError(msg, faults=[FieldFault("resources", msg)])


def _refused(path: str, message: str) -> PayloadError:
    return PayloadError(message, faults=[FieldFault(path, message)])
