"""The server, the classes that it has loaded, and problems: answers."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from archetype.api.schemas.scheduling import DeclaredProcessor

__all__ = ["ComponentType", "FieldType", "Problem", "ProcessorType", "ServerInfo", "StatusResponse"]


class FieldType(BaseModel):
    """A field of a component, with its Arrow type."""

    name: str
    type: str
    nullable: bool


class ComponentType(BaseModel):
    """A component class that this server has loaded."""

    name: str
    module: str
    fields: list[FieldType]


class ProcessorType(DeclaredProcessor):
    """A processor class that this server has loaded, with what it declares."""

    module: str
    parameters: dict[str, Any] = Field(
        description="Constructor parameters with their defaults; null where there is none."
    )


class ServerInfo(BaseModel):
    """What answers here."""

    name: str
    version: str


class StatusResponse(BaseModel):
    """How the server is."""

    status: str


class Problem(BaseModel):
    """Why a request was refused; the error's own facts stand beside these fields."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="A URN with the code.")
    title: str
    status: int
    detail: str = Field(description="What is wrong, and what to do about it.")
    code: str = Field(description="Stable; for programs.")
    errors: list[dict[str, str]] = Field(description="Each bad field: its `path` and a `message`.")
