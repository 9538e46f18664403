"""What is stored, and what guards it: objects, runs, pages that nothing refers to, keys, the log's times."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from archetype.clock import is_alive
from archetype.log.permissions import Role
from archetype.service.doctor.files import readable_size
from archetype.service.doctor.findings import Finding, error, ok, warning
from archetype.store.health import KeyState, OpenRun
from archetype.store.leases import is_leased
from archetype.store.retention import PageUse

__all__ = [
    "check_clock",
    "check_garbage",
    "check_keys",
    "check_log_time",
    "check_lost_runs",
    "check_objects",
    "check_runs",
]

SKEW_WARNING_S = 1.0
SKEW_ERROR_S = 5.0
"""Half of what a lease holds: beyond it, processes take living owners for dead ones."""

_SET_CLOCK = "timedatectl set-ntp true, on the database's machine and on this one"

_RESTORE = (
    "archetype verify, for what was edited meanwhile; then drop what is none of ours, and make what is "
    "missing or changed anew, with its statement in migrations/sql"
)

GARBAGE_WARNING_BYTES = 64 * 1024 * 1024
EXPIRY_WARNING_DAYS = 14
RUNS_SHOWN_MAX = 20


def check_clock(skew_s: float) -> Finding:
    """Judge the database's time less that of this machine."""
    side = "ahead of" if skew_s > 0 else "behind"
    seen = f"the database's clock is {abs(skew_s):.1f} s {side} this machine's"
    if abs(skew_s) >= SKEW_ERROR_S:
        return error("clock", seen, _SET_CLOCK)
    if abs(skew_s) >= SKEW_WARNING_S:
        return warning("clock", seen, _SET_CLOCK)
    return ok("clock", "the database and this machine agree")


def check_log_time(last_recorded_at: datetime | None, now: datetime) -> Finding:
    """Judge the time of the log's last event: a clock that was set back leaves it in the future."""
    if last_recorded_at is None:
        return ok("log", "it has no event yet")
    seen = f"its last event is of {last_recorded_at.isoformat(timespec='seconds')}"
    if last_recorded_at > now + timedelta(seconds=SKEW_ERROR_S):
        return warning("log", f"{seen}, which is yet to come", _SET_CLOCK)
    return ok("log", seen)


def check_runs(runs: Sequence[OpenRun], now: datetime) -> list[Finding]:
    """Judge the unfinished runs of living worlds: who computes them, or since when nobody does."""
    living = [each for each in runs if not each.is_world_removed]
    idle = [each for each in living if not is_leased(each.lease_owner, each.lease_until, now)]
    busy = {each.world: each.lease_owner for each in living if each not in idle}
    findings = [_nobodys(each) for each in idle[:RUNS_SHOWN_MAX]]
    if len(idle) > RUNS_SHOWN_MAX:
        rest = len(idle) - RUNS_SHOWN_MAX
        findings.append(warning("runs", f"{rest} further runs wait too", "archetype runs list WORLD"))
    if not findings:
        findings = [ok("runs", f"{len(living)} unfinished, none without an owner")]
    held = ", ".join(f"{world!r} by {owner}" for world, owner in sorted(busy.items()))
    return [*findings, ok("leases", f"held are {held}" if held else "none is held")]


def _nobodys(each: OpenRun) -> Finding:
    run = each.run
    owner = ""
    if run.status in {"running", "cancelling"} and each.lease_owner is not None:
        state = "no longer lives" if not is_alive(each.lease_owner) else "let its lease end"
        owner = f"; its owner {each.lease_owner} {state}"
    seen = (
        f"run {run.run_id} of world {each.world!r} is {run.status} behind {run.ticks_completed} of "
        f"{run.ticks_requested} ticks, and nobody computes it{owner}"
    )
    remedy = (
        f"archetype serve with the world's modules takes it up; archetype runs cancel {run.run_id} ends it"
    )
    return warning("runs", seen, remedy)


def check_lost_runs(run_ids: Sequence[UUID]) -> list[Finding]:
    """Judge runs without a world, which only damage leaves behind."""
    if not run_ids:
        return []
    seen = f"{len(run_ids)} runs have no world, the first is {run_ids[0]}"
    return [error("runs", seen, "archetype verify, then restore from a backup")]


def check_objects(differences: Sequence[str]) -> list[Finding]:
    """Judge the triggers, views and functions: without those that guard it, history can be edited unseen."""
    if not differences:
        return [ok("objects", "triggers, views and functions are as the migrations made them")]
    return [error("objects", each, _RESTORE) for each in differences]


def check_garbage(unused: PageUse) -> Finding:
    """Judge the pages that no snapshot refers to."""
    seen = f"{unused.page_count} pages, {readable_size(unused.size_bytes)}, are referred to by nothing"
    if unused.size_bytes >= GARBAGE_WARNING_BYTES:
        return warning("garbage", seen, "archetype gc --yes")
    return ok("garbage", seen)


def check_keys(made_count: int, states: Sequence[KeyState], now: datetime) -> Finding:
    """Judge the API keys: whether there are any, and whether an administrator holds one that lasts."""
    if not made_count:
        seen = "there is no API key: whoever uses this machine is an administrator, and nobody else gets in"
        remedy = "archetype actor create root --role admin && archetype key create root"
        return warning("keys", seen, remedy)
    held = [each for each in states if each.expires_at is None or each.expires_at > now]
    remedy = "archetype key create NAME --database-url URL, for an actor with the role admin"
    if not held:
        return error("keys", f"of {made_count} keys none holds any more: nobody gets in", remedy)
    admins = [each for each in held if Role.ADMIN in json.loads(each.roles) and not each.is_limited]
    if not admins:
        return warning("keys", f"{len(held)} keys hold, none of them an administrator's", remedy)
    soon = now + timedelta(days=EXPIRY_WARNING_DAYS)
    ending = [each for each in held if each.expires_at is not None and each.expires_at < soon]
    if ending:
        names = ", ".join(f"{each.key_id} of {each.actor!r}" for each in ending)
        seen = f"within {EXPIRY_WARNING_DAYS} days these keys end: {names}"
        return warning("keys", seen, f"archetype key rotate {ending[0].key_id} --grace 1h")
    return ok("keys", f"{len(held)} keys hold, {len(admins)} of them an administrator's")
