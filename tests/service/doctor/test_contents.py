"""What is judged of runs, garbage, keys and clocks, without a database."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from archetype.clock import process_identity
from archetype.service.doctor.contents import (
    check_clock,
    check_garbage,
    check_keys,
    check_log_time,
    check_lost_runs,
    check_runs,
)
from archetype.service.doctor.findings import Severity
from archetype.store.health import KeyState, OpenRun
from archetype.store.retention import PageUse
from archetype.store.run_rows import RunRow

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ELSEWHERE = "another-host:7:1"


def open_run(number=1, status="running", owner=ELSEWHERE, ends_in_s=-1, is_world_removed=False):
    run = RunRow(UUID(int=number), UUID(int=99), UUID(int=98), 0, 10, 4, 0, status, None, NOW, None)
    return OpenRun(run, "demo", is_world_removed, owner, NOW + timedelta(seconds=ends_in_s))


def key(expires_in_days=None, roles='["admin"]', is_limited=False):
    expires_at = None if expires_in_days is None else NOW + timedelta(days=expires_in_days)
    return KeyState("0123456789abcdef", "root", roles, is_limited, expires_at)


@pytest.mark.parametrize(
    ("skew_s", "severity"),
    [(0.0, "ok"), (0.9, "ok"), (-1.0, "warning"), (4.9, "warning"), (5.0, "error"), (-3600.0, "error")],
    ids=["none", "little", "behind", "nearly", "ahead", "hour"],
)
def test_a_skew_is_judged_by_what_a_lease_bears(skew_s, severity):
    found = check_clock(skew_s)
    assert found.severity == severity
    assert (found.remedy is None) == (severity == "ok")
    assert severity == "ok" or ("ahead" in found.seen) == (skew_s > 0)


def test_an_event_of_the_future_tells_that_a_clock_was_set_back():
    assert check_log_time(None, NOW).severity == "ok"
    assert check_log_time(NOW, NOW).severity == "ok"
    assert check_log_time(NOW + timedelta(minutes=1), NOW).severity == "warning"


def test_a_run_whose_owner_let_its_lease_end_is_named_with_what_ends_it():
    found, leases = check_runs([open_run()], NOW)
    assert (found.check, found.severity) == ("runs", Severity.WARNING)
    assert str(UUID(int=1)) in found.seen
    assert "4 of 10 ticks" in found.seen
    assert f"its owner {ELSEWHERE} let its lease end" in found.seen
    assert f"archetype runs cancel {UUID(int=1)}" in found.remedy
    assert leases.seen == "none is held"


@pytest.mark.parametrize("owner", [ELSEWHERE, process_identity()], ids=["elsewhere", "here"])
def test_a_run_that_a_living_owner_computes_is_in_order(owner):
    runs, leases = check_runs([open_run(owner=owner, ends_in_s=5), open_run(2, "waiting", owner, 5)], NOW)
    assert (runs.severity, leases.severity) == ("ok", "ok")
    assert owner in leases.seen


def test_a_dead_owner_of_this_machine_is_known_before_its_lease_ends():
    host, pid, _, space = process_identity().split(":", 3)
    dead = f"{host}:{pid}:1:{space}"
    found, _ = check_runs([open_run(owner=dead, ends_in_s=5)], NOW)
    assert "no longer lives" in found.seen


def test_runs_of_removed_worlds_are_nobodys_business_and_many_are_counted():
    assert check_runs([open_run(is_world_removed=True)], NOW)[0].severity == "ok"
    found = check_runs([open_run(number, "waiting", None) for number in range(25)], NOW)
    assert [each.severity for each in found] == ["warning"] * 21 + ["ok"]
    assert "5 further runs" in found[20].seen


def test_runs_without_a_world_are_damage():
    assert check_lost_runs([]) == []
    (found,) = check_lost_runs([UUID(int=5)])
    assert found.severity == "error"
    assert str(UUID(int=5)) in found.seen


@pytest.mark.parametrize(("size_bytes", "severity"), [(1 << 20, "ok"), (1 << 26, "warning")])
def test_garbage_matters_once_it_takes_room(size_bytes, severity):
    assert check_garbage(PageUse(3, size_bytes)).severity == severity


@pytest.mark.parametrize(
    ("made", "states", "severity", "says"),
    [
        (0, [], "warning", "no API key"),
        (2, [], "error", "none holds"),
        (1, [key(expires_in_days=-1)], "error", "none holds"),
        (1, [key(roles='["viewer"]')], "warning", "none of them an administrator's"),
        (1, [key(is_limited=True)], "warning", "none of them an administrator's"),
        (2, [key(), key(expires_in_days=3)], "warning", "0123456789abcdef of 'root'"),
        (2, [key(), key(expires_in_days=30)], "ok", "2 of them"),
    ],
    ids=["none", "revoked", "expired", "viewer", "limited", "ending", "good"],
)
def test_keys(made, states, severity, says):
    found = check_keys(made, states, NOW)
    assert found.severity == severity
    assert says in found.seen
