"""Every error that archetype raises on purpose.

    ArchetypeError
    ├── InvalidInputError          a value, field or request that cannot be accepted
    │   ├── ComponentError         a component class, type name or component value
    │   └── PayloadError           a command's payload; carries the path of each bad field
    ├── NotFoundError              something that was named does not exist
    │   ├── IdentityNotFoundError  no such actor or key
    │   ├── WorldNotFoundError
    │   ├── EntityNotFoundError
    │   ├── LabelNotFoundError
    │   ├── RunNotFoundError
    │   └── TickNotFoundError      not committed yet, or before the world's birth
    ├── StateConflictError         it exists, but its present state forbids the request
    │   ├── NameTakenError
    │   ├── LabelTakenError        the world has a label of that name
    │   ├── CommandConflictError   a command id that was used with other content
    │   ├── VersionConflictError   the world moved on; carries both versions
    │   ├── WorldArchivedError
    │   ├── WorldBusyError         another server runs this world just now
    │   ├── RunEndedError          a run that has ended cannot be cancelled any more
    │   └── RunCancelledError      a run that was waited for was cancelled
    ├── AuthenticationError        nobody knows who asks: no API key, or one that does not hold
    ├── PermissionDeniedError      known, and not permitted; says nothing of what is there
    ├── LimitExceededError         larger than a documented limit
    ├── OverloadedError            try again later; carries retry_after_s
    │   └── QuotaExceededError     the actor has used up what it may ask for
    ├── TickFailedError            a tick could not be computed; its inputs stay sealed
    │   ├── ProcessorError         a processor raised, or returned what cannot be believed
    │   ├── AccessViolationError   a processor touched a component that it did not declare
    │   ├── ConflictError          two processors of a group wrote one cell, and the world refuses that
    │   ├── PlanError              a plan that drops, repeats or mixes what it must not
    │   ├── CodeNotLoadedError     a recorded processor or component whose class is not imported
    │   └── CodeChangedError       a processor whose code is not the recorded one
    ├── CorruptionError            stored data that contradicts its own hash or position
    │   └── DivergenceError        a tick that a replay does not reproduce
    ├── SchemaOutdatedError        the database schema is not the one this release needs
    └── UnavailableError           the database or the server cannot be reached

HTTP statuses and exit codes are chosen in `api.problems` and `cli.exit_codes`; a test holds both
maps complete.
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "AccessViolationError",
    "ArchetypeError",
    "AuthenticationError",
    "CodeChangedError",
    "CodeNotLoadedError",
    "CommandConflictError",
    "ComponentError",
    "ConflictError",
    "CorruptionError",
    "DivergenceError",
    "EntityNotFoundError",
    "FieldFault",
    "IdentityNotFoundError",
    "InvalidInputError",
    "LabelNotFoundError",
    "LabelTakenError",
    "LimitExceededError",
    "NameTakenError",
    "NotFoundError",
    "OverloadedError",
    "PayloadError",
    "PermissionDeniedError",
    "PlanError",
    "ProcessorError",
    "QuotaExceededError",
    "RunCancelledError",
    "RunEndedError",
    "RunNotFoundError",
    "SchemaOutdatedError",
    "StateConflictError",
    "TickFailedError",
    "TickNotFoundError",
    "UnavailableError",
    "VersionConflictError",
    "WorldArchivedError",
    "WorldBusyError",
    "WorldNotFoundError",
]


class FieldFault(dict[str, str]):
    """One bad field: its dotted `path` from the root of the input, and what to do about it."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(path=path, message=message)


class ArchetypeError(Exception):
    """The root: a stable `code`, a message that names the remedy, and the facts as `details`."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class InvalidInputError(ArchetypeError):
    """A value that cannot be accepted; `faults` names each bad field."""

    code = "invalid_input"

    def __init__(self, message: str, *, faults: list[FieldFault] | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.faults: list[FieldFault] = faults or []


class ComponentError(InvalidInputError):
    """A component class that cannot be stored, an unknown type name, or a value that does not fit."""

    code = "invalid_component"


class PayloadError(InvalidInputError):
    """A command whose payload does not fit its type."""

    code = "invalid_payload"


class NotFoundError(ArchetypeError):
    """Something that was named does not exist."""

    code = "not_found"


class IdentityNotFoundError(NotFoundError):
    """No actor has this name, or no key this id; details: name or key_id."""

    code = "identity_not_found"


class WorldNotFoundError(NotFoundError):
    """No live world has this name or id."""

    code = "world_not_found"


class EntityNotFoundError(NotFoundError):
    """No active entity has this id at this tick."""

    code = "entity_not_found"


class LabelNotFoundError(NotFoundError):
    """The world has no label of this name; details: label."""

    code = "label_not_found"


class RunNotFoundError(NotFoundError):
    """No run has this id; details: run_id."""

    code = "run_not_found"


class TickNotFoundError(NotFoundError):
    """The tick is not committed, or lies before the world's birth."""

    code = "tick_not_found"


class StateConflictError(ArchetypeError):
    """The present state forbids the request."""

    code = "conflict"


class NameTakenError(StateConflictError):
    """A live world already has this name."""

    code = "name_taken"


class LabelTakenError(StateConflictError):
    """The world already has a label of this name; details: name, tick."""

    code = "label_taken"


class CommandConflictError(StateConflictError):
    """The command id was accepted before with other content, or an entity id is not free."""

    code = "command_conflict"


class VersionConflictError(StateConflictError):
    """The world is not at the expected version; details: expected_version, actual_version."""

    code = "version_conflict"


class WorldArchivedError(StateConflictError):
    """The world was removed; its past can be read, but it takes no commands."""

    code = "world_archived"


class WorldBusyError(StateConflictError):
    """Another process holds the world's lease; details: owner, retry_after_s."""

    code = "world_busy"


class RunEndedError(StateConflictError):
    """The run has ended, and not because it was cancelled; details: run_id, run_status."""

    code = "run_ended"


class RunCancelledError(StateConflictError):
    """The run was cancelled before its last tick; details: run_id, ticks_completed."""

    code = "run_cancelled"


class AuthenticationError(ArchetypeError):
    """No API key was given, or one that is unknown, expired or revoked; the message never holds the key."""

    code = "unauthenticated"


class PermissionDeniedError(ArchetypeError):
    """The actor may not do this; details: action. Whether what was named exists is not said."""

    code = "permission_denied"


class LimitExceededError(ArchetypeError):
    """A documented limit was exceeded; details: limit, actual."""

    code = "limit_exceeded"


class OverloadedError(ArchetypeError):
    """A bounded queue is full; details: retry_after_s."""

    code = "overloaded"


class QuotaExceededError(OverloadedError):
    """An actor has used up what it may ask for; details: quota, used, allowed, retry_after_s."""

    code = "quota_exceeded"


class TickFailedError(ArchetypeError):
    """A tick could not be computed: nothing of it is visible, and the next step tries it again."""

    code = "tick_failed"


class ProcessorError(TickFailedError):
    """A processor failed; details: what, processor, archetype, tick, attempts (those that failed)."""

    code = "processor_failed"


class AccessViolationError(TickFailedError):
    """A processor read or wrote what it did not declare; details: processor, component, access."""

    code = "access_violation"


class ConflictError(TickFailedError):
    """Two processors of a group wrote one cell that no rule combines; details: tick, conflicts."""

    code = "write_conflict"


class PlanError(TickFailedError):
    """A builder's plan is not one of this world's processors; details: processors."""

    code = "plan_refused"


class CodeNotLoadedError(TickFailedError):
    """A recorded class is not imported in this process; details: name, module."""

    code = "code_not_loaded"


class CodeChangedError(TickFailedError):
    """A processor's code is not what the log recorded; details: name, recorded, loaded (fingerprints)."""

    code = "code_changed"


class CorruptionError(ArchetypeError):
    """Stored data contradicts its own hash, position or size; the message names the exact place."""

    code = "corruption"


class DivergenceError(CorruptionError):
    """A tick computed again is not what was recorded; details: world_id, tick."""

    code = "diverged"


class SchemaOutdatedError(ArchetypeError):
    """The database schema is not at the revision that this release needs."""

    code = "schema_outdated"


class UnavailableError(ArchetypeError):
    """The database or the server cannot be reached."""

    code = "unavailable"
