"""States and access objects made of plain components."""

from uuid import UUID

import pyarrow as pa
import pytest

from archetype.core.archetype import Archetype
from archetype.core.context import TickContext
from archetype.core.resources import Resources
from archetype.core.scheduling.access import Access
from archetype.core.scheduling.rights import Rights
from archetype.core.state import ArchetypeTable, WorldState


def state_from(entities):
    rows = {}
    for entity_id, components in entities.items():
        archetype = Archetype.of(type(each) for each in components)
        row = {"entity_id": entity_id}
        for each in components:
            row |= each.to_row_dict()
        rows.setdefault(archetype, []).append(row)
    return WorldState.of(
        ArchetypeTable.of(archetype, pa.Table.from_pylist(listed, schema=archetype.table_schema))
        for archetype, listed in rows.items()
    )


def access_from(entities, reads=None, writes=None, *, name="Sut", index=0, ordinal=0, **context):
    return Access(
        state_from(entities),
        name=name,
        index=index,
        ordinal=ordinal,
        rights=Rights.declared(reads, writes),
        context=TickContext(UUID(int=1), UUID(int=2), 3, 4, Resources(), **context),
    )


@pytest.fixture(scope="session")
def state_of():
    """Give the state that holds these components by entity id."""
    return state_from


@pytest.fixture(scope="session")
def access_to():
    """Give an access object to a state of these components by entity id."""
    return access_from
