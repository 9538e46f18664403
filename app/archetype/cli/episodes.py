"""`archetype episode` and `archetype rollout`: time passes until the world says that it is enough."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archetype.cli.arguments import ReferenceArgument, SnapshotsOption, WorldArgument
from archetype.cli.progress import progress_bar
from archetype.cli.session import Session, with_session
from archetype.cli.simulate import DebugOption, InputOption, shown_progress, telling_what_goes_on
from archetype.cli.values import assignments, snapshot_policy
from archetype.clock import new_id
from archetype.limits import EPISODES_AT_ONCE_MAX, FORKS_MAX

if TYPE_CHECKING:
    from archetype.client import ArchetypeClient
    from archetype.client.run_answers import RolloutReport

__all__ = ["register"]

_POLL_S = 0.25
_ENDED = ("completed", "failed", "cancelled")

StepsOption = Annotated[int, typer.Option("--max-steps", "-n", min=1, help="How many ticks at most.")]
TerminalOption = Annotated[
    str | None,
    typer.Option(
        "--terminal", metavar="TYPE", help="The episode ends once an active entity has this component."
    ),
]
UntilOption = Annotated[
    str | None,
    typer.Option(
        "--until",
        metavar="CONDITION",
        help="It ends once this holds: 'Agent.age >= 9', 'all Health.points <= 0', 'count<=1 Player'.",
    ),
]
ReturnOption = Annotated[
    str | None,
    typer.Option(
        "--return",
        metavar="COLUMN[:OVER_TICKS[:OVER_ENTITIES]]",
        help="What it returns, such as Reward.value:sum; sum, mean or last over ticks, sum or mean over "
        "entities.",
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
DetachOption = Annotated[
    bool, typer.Option("--detach", "-d", help="Print the run and do not wait; it goes on by itself.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.command(
        epilog="Example: archetype episode demo --terminal Done --max-steps 200 --return Reward.value:sum"
    )(episode)
    app.command(epilog="Example: archetype rollout demo@120 --episodes 100 --seed 7 --max-steps 200")(rollout)


def _rules(terminal: str | None, until: str | None, returns: str | None) -> dict[str, Any]:
    from archetype.core.episodes import Condition, Return

    rules: dict[str, Any] = {} if terminal is None else {"terminal": terminal}
    if until is not None:
        rules["condition"] = Condition.parse(until).model_dump(mode="json", exclude_defaults=True)
    if returns is not None:
        rules["returns"] = Return.parse(returns).model_dump(mode="json")
    return rules


@with_session
def episode(
    session: Session,
    world: WorldArgument,
    *,
    max_steps: StepsOption,
    terminal: TerminalOption = None,
    until: UntilOption = None,
    returns: ReturnOption = None,
    inputs: InputOption = None,
    debug: DebugOption = False,
    quiet: QuietOption = False,
    detach: DetachOption = False,
) -> None:
    """Run a world until its episode is over; each tick is durable as soon as it is done."""
    options: Any = {"inputs": assignments(inputs or (), "--input"), "debug": debug}
    options |= _rules(terminal, until, returns)
    if detach:
        session.output.record(session.client.start_episode(world, max_steps, **options))
        return
    command_id = new_id()
    with (
        telling_what_goes_on(session, world, command_id),
        shown_progress(session, world, max_steps, quiet=quiet),
    ):
        report = session.client.run_episode(world, max_steps, command_id=command_id, **options)
    session.output.record(report)


@with_session
def rollout(
    session: Session,
    world: ReferenceArgument,
    *,
    episodes: Annotated[
        int, typer.Option("--episodes", "-e", min=1, max=FORKS_MAX, help="How many episodes.")
    ],
    max_steps: StepsOption,
    terminal: TerminalOption = None,
    until: UntilOption = None,
    returns: ReturnOption = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, help="The seed their seeds derive from; by default the world's."),
    ] = None,
    parallel: Annotated[
        int, typer.Option("--parallel", "-p", min=1, max=EPISODES_AT_ONCE_MAX, help="How many at once.")
    ] = 4,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the forks.")] = False,
    include_pending: Annotated[
        bool,
        typer.Option("--include-pending", help="Copy the commands that wait in the world into each fork."),
    ] = False,
    snapshots: SnapshotsOption = None,
    inputs: InputOption = None,
    debug: DebugOption = False,
    quiet: QuietOption = False,
    detach: DetachOption = False,
) -> None:
    """Run an episode in each of many forks of a world or one of its ticks, and print what they returned."""
    options: Any = {"inputs": assignments(inputs or (), "--input"), "debug": debug, "seed": seed}
    options |= {"parallel": parallel, "keep": keep, "include_pending": include_pending}
    options |= _rules(terminal, until, returns)
    if snapshots is not None:
        options["snapshots"] = snapshot_policy(snapshots)
    command_id = new_id()
    run = session.client.start_rollout(world, max_steps, episodes, command_id=command_id, **options)
    if detach:
        session.output.record(run)
        return
    with telling_what_goes_on(session, run["world"], command_id):
        report = _awaited(session.client, run["run_id"], episodes, quiet=quiet)
    session.output.record(report)
    if report["status"] != "completed":
        raise typer.Exit(1)


def _awaited(client: ArchetypeClient, run_id: str, episodes: int, *, quiet: bool) -> RolloutReport:
    """Wait until a rollout has ended, and show on a terminal how many of its episodes are over."""
    if quiet or not sys.stderr.isatty():
        for _ in client.follow_run(run_id):
            pass
        return client.rollout(run_id)
    with progress_bar("episodes", episodes) as show:
        while (report := client.rollout(run_id))["status"] not in _ENDED:
            show(len(report["episodes"]))
            time.sleep(_POLL_S)
    return report
