"""Pages as rows: those that are there stay, a patch needs its base, and a read gets whole chains."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy as sa

from archetype.errors import CorruptionError, UnavailableError
from archetype.log.pages import encode_page
from archetype.log.patches import Base, plain_form, stored_form
from archetype.store.pages import insert_pages, read_pages
from statements import analyze, plan_of


def chain(length, seed=0):
    """Return pages of a column in motion, and their forms."""
    rng = np.random.default_rng(seed)
    x, dx = rng.uniform(-500, 500, 200), rng.normal(size=200)
    pages, forms, base = [], [], None
    for _ in range(length):
        pages.append(encode_page(pa.array(x)))
        forms.append(stored_form(pages[-1], base))
        base = Base.of(forms[-1], pages[-1].data, base)
        x = x + dx
    return pages, forms


async def read(database, hashes, hold=None):
    return await database.read(lambda connection: read_pages(connection, hashes, hold))


async def stored(database, length=12):
    pages, forms = chain(length)
    for form in forms:
        await database.write(lambda connection, form=form: insert_pages(connection, [form]))
    return pages, forms


async def test_a_page_is_read_with_its_chain(database):
    pages, _ = await stored(database)
    for page in pages:
        found = await read(database, [page.page_hash])
        assert found.checked() == {page.page_hash: page.data}
    everything = await read(database, [page.page_hash for page in pages])
    assert everything.checked() == {page.page_hash: page.data for page in pages}


async def test_what_is_in_memory_is_not_read_again(database):
    pages, forms = await stored(database)
    last = max(number for number, form in enumerate(forms) if form.codec == "trend")
    held = {page.page_hash: page.data for page in pages[:last]}

    def hold(hashes):
        return {name: held[name] for name in hashes if name in held}

    found = await read(database, [pages[last].page_hash], hold)
    assert found.held.keys() >= {pages[last - 1].page_hash, pages[last - 2].page_hash}
    await database.write(lambda connection: connection.execute(sa.text("DELETE FROM pages")))
    assert found.checked() == {pages[last].page_hash: pages[last].data}


async def test_pages_that_are_there_stay_in_their_form(database):
    pages, forms = chain(6)
    await database.write(lambda connection: insert_pages(connection, [plain_form(page) for page in pages]))
    there = await database.write(lambda connection: insert_pages(connection, forms))
    assert there == {page.page_hash for page in pages}
    codecs = sa.text("SELECT DISTINCT codec FROM pages")
    assert await database.read(lambda connection: connection.scalars(codecs).all()) == ["plain"]


async def test_a_patch_without_its_base_is_not_stored(database):
    _, forms = chain(4)
    with pytest.raises(UnavailableError, match="another process went on"):
        await database.write(lambda connection: insert_pages(connection, forms[-1:]))
    count = sa.text("SELECT count(*) FROM pages")
    assert await database.read(lambda connection: connection.scalar(count)) == 0


async def test_a_page_that_is_missing_is_named(database):
    pages, _ = await stored(database)
    with pytest.raises(CorruptionError, match=f"page {'ab' * 32} is missing"):
        await read(database, [pages[0].page_hash, b"\xab" * 32])


@pytest.mark.postgres_only
@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_what_a_page_is_a_patch_on_is_looked_up_by_its_name(database, statements):
    """To read all pages for each link of a chain takes the longer the older a world is."""
    pages, _ = await stored(database)
    others = [encode_page(pa.array([float(number), 0.5])) for number in range(3_000)]
    await database.write(lambda connection: insert_pages(connection, [plain_form(each) for each in others]))
    await analyze(database, "pages")
    statements.clear()
    found = await read(database, [pages[-1].page_hash])
    assert found.checked() == {pages[-1].page_hash: pages[-1].data}
    (chain_statement,) = [each for each in statements if "RECURSIVE" in each.text]
    plan = await plan_of(database, chain_statement)
    assert not any("Seq Scan on pages" in each for each in plan), plan
