"""The options that all commands share, and what they come to: a client and an output."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec

import typer

from archetype.cli.output import Format, Output
from archetype.errors import InvalidInputError

if TYPE_CHECKING:
    from archetype.client import ArchetypeClient

__all__ = [
    "ColumnsOption",
    "KeyOption",
    "NoHeaderOption",
    "OutputOption",
    "Session",
    "Shared",
    "UrlOption",
    "confirmed",
    "with_session",
]

Parameters = ParamSpec("Parameters")

_GROUP = "Shared options"

UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url", help="The server's URL; also ARCHETYPE_URL.", metavar="URL", rich_help_panel=_GROUP
    ),
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        help="Your API key; better set ARCHETYPE_API_KEY, which other users of the machine cannot see.",
        metavar="KEY",
        rich_help_panel=_GROUP,
    ),
]
OutputOption = Annotated[
    Format | None,
    typer.Option(
        "--output",
        "-o",
        help="The output format; by default table on a terminal, else json.",
        rich_help_panel=_GROUP,
    ),
]
ColumnsOption = Annotated[
    str | None,
    typer.Option(
        "--columns", help="Print only these columns, such as a,b,c.", metavar="NAMES", rich_help_panel=_GROUP
    ),
]
NoHeaderOption = Annotated[
    bool, typer.Option("--no-header", help="Omit the column names.", rich_help_panel=_GROUP)
]


@dataclass(frozen=True, slots=True)
class Shared:
    """The shared options as they were given; what stands after the command wins."""

    url: str | None = None
    form: Format | None = None
    columns: str | None = None
    no_header: bool = False
    api_key: str | None = field(default=None, repr=False)

    def overridden(
        self,
        url: str | None,
        form: Format | None,
        columns: str | None,
        *,
        no_header: bool,
        api_key: str | None,
    ) -> Shared:
        """Return the options with those that were given again."""
        return replace(
            self,
            url=url or self.url,
            form=form or self.form,
            columns=columns or self.columns,
            no_header=no_header or self.no_header,
            api_key=api_key or self.api_key,
        )


class Session:
    """What one command works with; the client is made when it is first needed."""

    def __init__(self, shared: Shared) -> None:
        names = tuple(name.strip() for name in (shared.columns or "").split(",") if name.strip())
        form = shared.form or (Format.TABLE if sys.stdout.isatty() else Format.JSON)
        self.output = Output(form, names or None, not shared.no_header)
        self.url = shared.url
        self._api_key = shared.api_key
        self._client: ArchetypeClient | None = None

    @property
    def client(self) -> ArchetypeClient:
        """The client of the server that was named."""
        if self._client is None:
            # The client's imports take as long as all others together.
            from archetype.client import ArchetypeClient

            self._client = ArchetypeClient(self.url, api_key=self._api_key)
        return self._client

    def close(self) -> None:
        """End the client's connections."""
        if self._client is not None:
            self._client.close()

    def note(self, text: str) -> None:
        """Tell a person at the terminal something that is no part of the output."""
        if sys.stderr.isatty():
            typer.echo(text, err=True)


def with_session(function: Callable[Concatenate[Session, Parameters], None]) -> Callable[..., None]:
    """Give a command the shared options, and a `Session` made of them as its first argument."""

    @functools.wraps(function)
    def command(*args: Any, **kwargs: Any) -> None:
        context: typer.Context = kwargs.pop("context")
        shared: Shared = context.obj or Shared()
        session = Session(
            shared.overridden(
                kwargs.pop("url"),
                kwargs.pop("form"),
                kwargs.pop("columns"),
                no_header=kwargs.pop("no_header"),
                api_key=kwargs.pop("api_key"),
            )
        )
        try:
            function(session, *args, **kwargs)
        finally:
            session.close()

    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    shared = [
        _option("context", typer.Context, inspect.Parameter.empty),
        _option("url", UrlOption, None),
        _option("form", OutputOption, None),
        _option("columns", ColumnsOption, None),
        _option("no_header", NoHeaderOption, default=False),
        _option("api_key", KeyOption, None),
    ]
    parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own] + shared
    # Typer reads a command's options off its signature.
    vars(command)["__signature__"] = inspect.Signature(parameters)
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    return command


def confirmed(question: str, *, is_sure: bool) -> None:
    """Ask whoever sits at a terminal; `is_sure` is the answer given beforehand, needed where nobody sits.

    Raises `InvalidInputError` there.
    """
    if is_sure:
        return
    if not sys.stdin.isatty():
        raise InvalidInputError(f"{question} Nobody can be asked here: add --yes")
    typer.confirm(question, abort=True, err=True)


def _option(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
