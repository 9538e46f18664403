"""The table of roles: a ladder, with everything on its top rung."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archetype.log.command import CommandType
from archetype.log.permissions import ACTIONS, ROLE_ACTIONS, Access, Role, is_permitted, permitted_actions

VIEWER = {"read_world", "read_log", "read_catalog", "read_metrics"}
PLAYER = {"spawn", "despawn", "update", "message", "custom"}
OPERATOR = {
    "add_component",
    "remove_component",
    "add_processor",
    "remove_processor",
    "replace_processor",
    "fork_world",
    "destroy_world",
    "configure_world",
    "add_resource",
    "remove_resource",
    "cancel_run",
    "add_label",
    "remove_label",
    "step",
    "run",
    "run_episode",
    "run_rollout",
    "replay_world",
}
EXPECTED = {"viewer": VIEWER, "player": VIEWER | PLAYER, "operator": VIEWER | PLAYER | OPERATOR}


@pytest.mark.parametrize("role", EXPECTED)
def test_a_rung_permits_exactly_this(role):
    assert {action.value for action in permitted_actions([role])} == EXPECTED[role]


def test_the_admin_may_do_everything():
    assert set(permitted_actions(["admin"])) == {*CommandType, *Access}


def test_what_no_rung_names_is_the_admins_alone():
    """A new type of command falls here until somebody decides otherwise."""
    named = EXPECTED["operator"]
    alone = {each.value for each in ACTIONS} - named
    assert {"create_world", "list_worlds", "thin_world", "manage_actors", "manage_keys"} <= alone
    for action in ACTIONS:
        if action.value in alone:
            assert [role for role in Role if is_permitted([role], action)] == [Role.ADMIN]


def test_each_rung_has_what_those_below_it_have():
    assert list(ROLE_ACTIONS) == list(Role)
    for below, above in itertools.pairwise(ROLE_ACTIONS.values()):
        assert below < above


def test_no_command_has_the_name_of_an_access():
    assert len({each.value for each in ACTIONS}) == len(CommandType) + len(Access)


@given(st.lists(st.sampled_from([*Role, "coder", "ADMIN", "", "admin "])), st.sampled_from(ACTIONS))
def test_roles_permit_what_any_of_them_does_and_unknown_ones_nothing(roles, action):
    assert is_permitted(roles, action) == any(action in ROLE_ACTIONS.get(role, ()) for role in roles)
    assert not is_permitted([role for role in roles if role not in set(Role)], action)
