"""`archetype message`: what processors are told, and what they were."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from archetype.cli.arguments import (
    FromOption,
    PriorityOption,
    ReferenceArgument,
    TickOption,
    ToOption,
    WorldArgument,
)
from archetype.cli.pages import newest
from archetype.cli.session import Session, with_session
from archetype.cli.values import json_value, text_of

__all__ = ["app"]

MESSAGE_COLUMNS = ("position", "tick", "sender_id", "receiver_id", "channel", "content", "status", "reason")

app = typer.Typer(no_args_is_help=True, help="Send messages to a world's processors, and read them back.")

ReceiverOption = Annotated[int | None, typer.Option("--receiver", min=1, help="The receiving entity.")]
SenderOption = Annotated[int | None, typer.Option("--sender", min=1, help="The sending entity.")]
ChannelOption = Annotated[str | None, typer.Option("--channel", help="The message's channel.")]


@app.command(epilog='Example: archetype message send demo \'{"say": "hello"}\' --receiver 5 --channel chat')
@with_session
def send(
    session: Session,
    world: WorldArgument,
    content: Annotated[
        str, typer.Argument(metavar="JSON", help="Any JSON value; @FILE reads a file, - stdin.")
    ],
    receiver: ReceiverOption = None,
    sender: SenderOption = None,
    channel: ChannelOption = None,
    tick: TickOption = None,
    priority: PriorityOption = None,
) -> None:
    """Send a message to an entity or, without --receiver, to everybody; the tick's processors get it."""
    session.output.record(
        session.client.send_message(
            world,
            json_value(text_of(content, "JSON"), "JSON"),
            receiver=receiver,
            sender=sender,
            channel=channel,
            tick=tick,
            priority=priority,
        )
    )


@app.command("list", epilog="Example: archetype message list demo@120 --receiver 5 --from 100")
@with_session
def list_messages(
    session: Session,
    world: ReferenceArgument,
    receiver: ReceiverOption = None,
    sender: SenderOption = None,
    channel: ChannelOption = None,
    from_tick: FromOption = None,
    to_tick: ToOption = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many messages.")] = 50,
) -> None:
    """Show the newest messages of a world and its past, and what became of them, newest last."""
    read = partial(
        session.client.messages,
        world,
        receiver=receiver,
        sender=sender,
        channel=channel,
        from_tick=from_tick,
        to_tick=to_tick,
    )
    session.output.rows(newest(read, limit), shown=MESSAGE_COLUMNS)
