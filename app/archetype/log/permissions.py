"""Who may do what: one table of roles and actions. Pure: it asks nobody and looks nothing up."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum

from archetype.log.command import CommandType

__all__ = ["ACTIONS", "ROLE_ACTIONS", "Access", "Action", "Role", "is_permitted", "permitted_actions"]


class Access(StrEnum):
    """What is asked of the service beside commands: reading, and administration."""

    READ_WORLD = "read_world"
    READ_LOG = "read_log"
    FOLLOW_LOG = "follow_log"
    READ_CATALOG = "read_catalog"
    READ_AUDIT = "read_audit"
    READ_METRICS = "read_metrics"
    REPLAY_WORLD = "replay_world"
    LIST_WORLDS = "list_worlds"
    VERIFY = "verify"
    COLLECT_GARBAGE = "collect_garbage"
    MANAGE_ACTORS = "manage_actors"
    MANAGE_KEYS = "manage_keys"


Action = CommandType | Access
"""Anything that a role may permit; no command has the name of an access."""


class Role(StrEnum):
    """The rungs of the ladder, each of which has what those below it have."""

    VIEWER = "viewer"
    PLAYER = "player"
    OPERATOR = "operator"
    ADMIN = "admin"


ACTIONS: tuple[Action, ...] = (*CommandType, *Access)

_VIEWER: frozenset[Action] = frozenset(
    {Access.READ_WORLD, Access.READ_LOG, Access.READ_CATALOG, Access.READ_METRICS}
)
_PLAYER: frozenset[Action] = _VIEWER | {
    CommandType.SPAWN,
    CommandType.DESPAWN,
    CommandType.UPDATE,
    CommandType.MESSAGE,
    CommandType.CUSTOM,
}
_OPERATOR: frozenset[Action] = _PLAYER | {
    CommandType.ADD_COMPONENT,
    CommandType.REMOVE_COMPONENT,
    CommandType.ADD_PROCESSOR,
    CommandType.REMOVE_PROCESSOR,
    CommandType.REPLACE_PROCESSOR,
    CommandType.FORK_WORLD,
    CommandType.DESTROY_WORLD,
    CommandType.CONFIGURE_WORLD,
    CommandType.ADD_RESOURCE,
    CommandType.REMOVE_RESOURCE,
    CommandType.CANCEL_RUN,
    CommandType.ADD_LABEL,
    CommandType.REMOVE_LABEL,
    CommandType.STEP,
    CommandType.RUN,
    CommandType.RUN_EPISODE,
    CommandType.RUN_ROLLOUT,
    Access.REPLAY_WORLD,
}

ROLE_ACTIONS: Mapping[str, frozenset[Action]] = {
    Role.VIEWER: _VIEWER,
    Role.PLAYER: _PLAYER,
    Role.OPERATOR: _OPERATOR,
    Role.ADMIN: frozenset(ACTIONS),
}
"""An action that no rung names is the admin's alone: so is every new one, until somebody decides."""


def is_permitted(roles: Collection[str], action: Action) -> bool:
    """Tell whether any of these roles permits an action; an unknown role permits nothing."""
    return any(action in ROLE_ACTIONS.get(role, ()) for role in roles)


def permitted_actions(roles: Collection[str]) -> list[Action]:
    """Return all that these roles permit, in the order of `ACTIONS`."""
    return [action for action in ACTIONS if is_permitted(roles, action)]
