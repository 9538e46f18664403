"""Every limit that callers can meet: how much of it, and why; docs/limits.md says what answers beyond it.

Units stand in the names: `_CHARACTERS`, `_BYTES`, `_ROWS`, `_TICKS`, `_S` (seconds). All are inclusive: what
just reaches a limit is accepted.
"""

from __future__ import annotations

TICK_MAX = 2**53 - 1
"""Ticks stay exact in every JSON reader, ECMAScript's included."""

ENTITY_ID_MAX = 2**53 - 1
"""Entity ids stay exact in every JSON reader, ECMAScript's included."""

ENTITY_ID_GIVEN_MAX = 2**52 - 1
"""An id that a spawn asks for leaves as many behind it, so that no world runs out of ids to give."""

SEED_MAX = 2**63 - 1
"""A seed is a column of 64 bits with a sign."""

PRIORITY_MAX = 2**31 - 1
"""A priority is a column of 32 bits; the least is one further from zero."""

PRIORITY_MIN = -(2**31)
"""A priority is a column of 32 bits."""

POSITION_MAX = 2**63 - 1
"""A log position is a column of 64 bits with a sign."""

QUOTA_MAX = 2**53 - 1
"""Quotas stay exact in every JSON reader; more than that is written as none."""

KEY_LIFE_S_MAX = 10 * 366 * 86_400
"""A key that outlives ten years has outlived whoever knew about it; without an end is said by none."""

KEY_GRACE_S_MAX = 30 * 86_400
"""A month is enough to hand a new key out; a longer one keeps two secrets for one purpose."""

NAME_CHARACTERS_MAX = 128
"""Names of worlds, labels and actors: they stand in paths, tables and every line of the audit trail."""

CODE_NAME_CHARACTERS_MAX = 500
"""Names of code (processors, resources, components, builders), with their module before them."""

CHANNEL_CHARACTERS_MAX = 500
"""A message's channel is compared with each message of a history."""

REASON_CHARACTERS_MAX = 1_000
"""A reason is a few sentences for whoever reads the audit trail."""

IDEMPOTENCY_KEY_CHARACTERS_MAX = 256
"""An Idempotency-Key is hashed at each request; a UUID has 36 characters."""

REQUEST_ID_CHARACTERS_MAX = 128
"""A request's id stands in every line that is logged for it."""

ADDRESS_CHARACTERS_MAX = 64
"""The address that a caller asked from is a column of so many characters; an IPv6 one has 45."""

BODY_BYTES_MAX = 16 * 1024 * 1024
"""A JSON body is in memory several times while it is parsed; bulk data goes as Arrow."""

JSON_VALUES_MAX = 500_000
"""A value takes up to 300 bytes while its body is parsed and checked, and may be two bytes long."""

BULK_BYTES_MAX = 256 * 1024 * 1024
"""An Arrow table is in memory with its checked copy, and is one value of one row of the log."""

BULK_ROWS_MAX = 2_000_000
"""A column of nulls claims rows without any bytes; twice the largest world that was measured."""

BATCH_COLUMNS_MAX = 1_000
"""Far more than loaded components have; each column that does not fit is a fault in the answer."""

BATCH_COMMANDS_MAX = 10_000
"""A batch is one transaction, which holds everyone else's up."""

PAYLOAD_CHARACTERS_MAX = 1_048_576
"""A command is read again whenever its tick is; bulk data goes as Arrow."""

JSON_DEPTH_MAX = 64
"""The canonical form is spelled by recursion; nobody nests so deep on purpose."""

TYPE_DEPTH_MAX = 32
"""Arrow types of fields are made and spelled by recursion; a class that holds itself has no end."""

COMPONENT_FIELDS_MAX = 256
"""Each field is a column of its own, with pages of its own in each snapshot that changes it."""

ENTITY_COMPONENTS_MAX = 256
"""Each set of components is an archetype with all their columns, which each change of it makes anew."""

SNAPSHOT_TICKS_MAX = 1_000_000
"""Ticks between snapshots: a state that is asked for is computed from the last one before it."""

POLICY_ATTEMPTS_MAX = 100
"""Each attempt of a processor is an entry in the fact of its tick."""

POLICY_S_MAX = 86_400
"""Delays and timeouts of a processor: a tick that waits for a day waits for nothing."""

POLICY_CONCURRENT_MAX = 10_000
"""Each processor that runs at once is a task with its own copy of the resources."""

RUN_TICKS_MAX = 1_000_000
"""A day at a dozen ticks a second; whoever wants more starts another run behind it."""

FORKS_MAX = 1_000
"""Forks, or episodes of a rollout, that one call makes: all are written in one transaction."""

EPISODES_AT_ONCE_MAX = 64
"""Episodes of one rollout that are under way together; each keeps a world in memory."""

LINEAGE_WORLDS_MAX = 1_000
"""A lineage is walked at a world's first use, and each of its worlds is a row of later look-ups."""

PAGE_ENTRIES_MAX = 1_000
"""Entries of one page of a listing: a page is in memory whole."""

LISTED_VALUES_MAX = 1_000
"""Names, or ids, in one parameter of an address: each is looked up by itself."""

RANGE_TICKS_MAX = 10_000
"""Ticks that one answer covers: rows of all of them are prepared for it."""

REPLAY_TICKS_MAX = 1_000
"""Ticks that one request computes again: a longer replay is asked for in parts."""

FAULTS_MAX = 1_000
"""Faults that a verification lists; who has more than that has one cause, and all are counted."""

FIELD_FAULTS_MAX = 1_000
"""Faults that a refusal lists; each takes a kilobyte, and a body can have as many as it has values."""

QUEUE_COMMANDS_MAX = 20_000
"""Commands that wait to be written; at 15,000 a second this is what a caller waits for with patience."""

QUEUE_BYTES_MAX = 256 * 1024 * 1024
"""What the commands that wait may take in memory, all together; one group that waits alone may take more."""

PENDING_COMMANDS_MAX = 250_000
"""Commands that wait in one world: a tick reads all of its own at once, and may be given all of them."""

JSON_HELD_BYTES_MAX = 32 * 1024 * 1024
"""Two of the largest JSON bodies; what one is parsed into takes many times as much meanwhile."""

BULK_HELD_BYTES_MAX = 256 * 1024 * 1024
"""One of the largest tables. Small requests do not wait for tables: the two are counted apart."""

RUNS_AT_ONCE_MAX = 8
"""Runs that compute at once in one process; its cores are fewer, but some processors only wait."""

RUNS_WAITING_MAX = 1_000
"""Runs that one process keeps in its memory until it is their turn."""

STREAMS_MAX = 256
"""Event streams that one server has open; each reads the log by itself."""

KEYS_KEPT_MAX = 1_024
"""Keys that one process knows without a look at the database; only those that exist take room."""

ORIGINS_KEPT_MAX = 1_024
"""Origins of commands that one process knows to be noted already; callers choose their addresses."""

DENIALS_KEPT_MAX = 1_000
"""Denials that differ and wait to be written, less than a megabyte; what does not fit is counted."""
