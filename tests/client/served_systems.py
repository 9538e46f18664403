"""Systems for the server of the tests: two write the same score, one looks at it, one may not touch it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel

from archetype import Component
from archetype.scheduling import Access, Combine, system


class ServedScore(Component):
    points: Annotated[int, Combine("sum")] = 0
    winner: str = ""


class ServedPitch(BaseModel):
    length: float = 105.0
    grass: str = "green"


@system(writes=(ServedScore,))
def served_home(access: Access) -> None:
    for entity_id, _ in access(ServedScore):
        access[entity_id, ServedScore] = ServedScore(points=1, winner="home")


@system(writes=(ServedScore,))
def served_guest(access: Access) -> None:
    for entity_id, _ in access(ServedScore):
        access[entity_id, ServedScore] = ServedScore(points=2, winner="guest")


@system.readonly(reads=(ServedScore,), every=2)
def served_referee(access: Access) -> None:
    access.count(ServedScore)


@system(writes=())
def served_streaker(access: Access) -> None:
    access.spawn(ServedScore())
