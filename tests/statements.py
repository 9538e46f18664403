"""What databases are asked, and by which way they go about it."""

from contextlib import contextmanager
from typing import Any, NamedTuple

import sqlalchemy as sa


class Heard(NamedTuple):
    """A statement that an engine executed, with the parameters of its driver."""

    text: str
    parameters: Any


@contextmanager
def listening():
    """Give a list into which every statement goes that any engine executes."""
    heard = []

    def hear(_connection, _cursor, statement, parameters, *_):
        heard.append(Heard(statement, parameters))

    sa.event.listen(sa.Engine, "before_cursor_execute", hear)
    try:
        yield heard
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", hear)


async def analyze(database, table):
    """Let PostgreSQL see how much a table holds; the plans of SQLite come without it."""
    if not database.is_sqlite:
        await database.write(lambda connection: connection.execute(sa.text(f"ANALYZE {table}")))


async def plan_of(database, heard):
    """Return by which steps a database would go about a statement, a line each."""
    explain = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"

    def read(connection):
        rows = connection.exec_driver_sql(f"{explain} {heard.text}", heard.parameters)
        return [row[-1] for row in rows]

    return await database.read(read)
