"""Triggers, views and functions: what the migrations' SQL files make, against what is there."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from archetype.store.schema import metadata

__all__ = ["object_differences"]

_MADE = re.compile(r"^CREATE (?:CONSTRAINT )?(TRIGGER|VIEW|FUNCTION) (\w+)", re.MULTILINE)
_ON = re.compile(r"\bON (\w+)")
_QUERY = re.compile(r"\bAS\s+(.*)", re.DOTALL)
_BODY = re.compile(r"\$\$(.*)\$\$", re.DOTALL)
_EVENTS = re.compile(r"(?<=before |.after )(.+?)(?= on )")
_INNER_COLUMN = re.compile(r'("\*SELECT\* \d+")\.("[^"]+"|\w+)')
_DISABLED = "disabled"
_RENAMED = {"function append_judged": "function append_commands"}
"""What a migration made by renaming another: it has an earlier text of that one, unless a file makes it."""

_TRIES = 3

_Definitions = Mapping[str, Sequence[str]]


def object_differences(connection: Connection, folder: Path) -> list[str]:
    """Say which triggers, views and functions are missing, changed or too many; an empty list means none.

    `folder` holds the SQL files of all migrations. Views and functions of other names are no concern of ours.
    """
    expected = _expected(connection, folder)
    read = _sqlite_objects if connection.dialect.name == "sqlite" else _postgres_objects
    found = dict(read(connection, expected))
    missing = [f"{name} is missing" for name in expected if name not in found]
    changed = [
        f"{name} is disabled" if found[name] == _DISABLED else f"{name} is not as the migrations made it"
        for name, definitions in expected.items()
        if name in found and found[name] not in definitions
    ]
    return missing + changed + [f"{name} is none of ours" for name in found if name not in expected]


def _expected(connection: Connection, folder: Path) -> _Definitions:
    """Return what the files make, as `view lineage` or `trigger ticks_no_update on ticks`.

    With each come the definitions that it may have, in the form in which they are compared.
    """
    texts: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(folder.glob(f"*/{connection.dialect.name}/*.sql")):
        for statement in path.read_text(encoding="utf-8").split(";\n\n"):
            made = _MADE.search(statement)
            if made is not None:
                text = statement[made.start() :].strip().removesuffix(";")
                texts[_label(made[1].lower(), made[2], text)].append(text)
    last = {name: each[-1:] for name, each in texts.items()}
    renamed = {name: texts[of][:-1] for name, of in _RENAMED.items() if of in texts}
    is_sqlite = connection.dialect.name == "sqlite"
    return {
        name: [_on_one_line(text) if is_sqlite else _definition(name, text) for text in each]
        for name, each in (renamed | last).items()
    }


def _label(kind: str, name: str, text: str) -> str:
    on = _ON.search(text) if kind == "trigger" else None
    return f"{kind} {name}" if on is None else f"{kind} {name} on {on[1]}"


def _definition(label: str, text: str) -> str:
    """Bring a statement of PostgreSQL into the form in which it is compared with what is there."""
    match label.partition(" ")[0]:
        case "trigger":
            return _trigger(text)
        case "function":
            return _on_one_line(_part(_BODY, text))
        case _:
            return _part(_QUERY, text)


def _part(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return text if found is None else found[1]


def _on_one_line(text: str) -> str:
    return " ".join(text.split())


def _sqlite_objects(connection: Connection, expected: _Definitions) -> Iterator[tuple[str, str]]:
    """Read what is there, of names that are expected or of triggers on our tables, with its definition."""
    statement = sa.text(
        "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE type IN ('trigger', 'view')"
    )
    for kind, name, table, text in connection.execute(statement):
        label = f"trigger {name} on {table}" if kind == "trigger" else f"view {name}"
        if label in expected or (kind == "trigger" and table in metadata.tables):
            yield label, _on_one_line(text)


_IN_SCHEMA = "current_schema()::regnamespace"
_TRIGGERS = sa.text(
    "SELECT t.tgname, c.relname, pg_get_triggerdef(t.oid, true), t.tgenabled = 'O' FROM pg_trigger t "
    f"JOIN pg_class c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal AND c.relnamespace = {_IN_SCHEMA}"
)
_RULES = sa.text(
    "SELECT r.rulename, c.relname FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class "
    f"WHERE c.relkind = 'r' AND c.relnamespace = {_IN_SCHEMA}"
)
_FUNCTIONS = sa.text(
    "SELECT proname, string_agg(prosrc, ' ' ORDER BY oid) FROM pg_proc "
    f"WHERE pronamespace = {_IN_SCHEMA} GROUP BY proname"
)
_VIEWS = sa.text(
    "SELECT relname, has_table_privilege(oid, 'SELECT') FROM pg_class "
    f"WHERE relkind = 'v' AND relnamespace = {_IN_SCHEMA}"
)


def _postgres_objects(connection: Connection, expected: _Definitions) -> Iterator[tuple[str, str]]:
    """Read what is there, of names that are expected or of triggers and rules on our tables."""
    for name, table, text, is_enabled in connection.execute(_TRIGGERS).all():
        if table in metadata.tables:
            yield f"trigger {name} on {table}", _trigger(text) if is_enabled else _DISABLED
    for name, table in connection.execute(_RULES).all():
        if table in metadata.tables:
            yield f"rule {name} on {table}", ""
    for name, bodies in connection.execute(_FUNCTIONS).all():
        if f"function {name}" in expected:
            yield f"function {name}", _on_one_line(bodies)
    for name, may_read in connection.execute(_VIEWS).all():
        if f"view {name}" in expected:
            (query,) = expected[f"view {name}"]
            yield f"view {name}", query if not may_read or _is_made_of(connection, name, query) else ""


def _trigger(text: str) -> str:
    """Spell a trigger of PostgreSQL so that the files' text and its own are the same."""
    plain = _on_one_line(re.sub(r'["()]', "", text)).lower()
    return _EVENTS.sub(lambda each: " or ".join(sorted(each[1].split(" or "))), plain, count=1)


def _is_made_of(connection: Connection, view: str, query: str) -> bool:
    """Tell whether a view is that query: PostgreSQL spells it in its own words, but plans both alike.

    What was written between two plans can make them differ, so a difference must stay. Inner columns of one
    that was restored from a dump have other names.
    """
    return any(_plan(connection, view) == _plan(connection, f"({query}) AS {view}") for _ in range(_TRIES))


def _plan(connection: Connection, source: str) -> list[str]:
    columns = connection.exec_driver_sql(f"SELECT * FROM {source} LIMIT 0").keys()
    plan = connection.exec_driver_sql(f"EXPLAIN (VERBOSE, COSTS OFF) SELECT * FROM {source}").scalars()
    lines = [_INNER_COLUMN.sub(r"\1", line) for line in plan if not line.startswith("Query Identifier")]
    return [*columns, *lines]
