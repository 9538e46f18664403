"""The server's log: JSON lines on stderr, or coloured ones for people."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog
from litestar.serialization import encode_json

from archetype.settings import LogFormat

__all__ = ["configure_logging"]


def configure_logging(form: LogFormat | None = None) -> None:
    """Send to stderr, in one form: our own lines from INFO on, those of libraries from WARNING on.

    Every line of a request, a library's too, carries its `request_id`. Without a form it is text on a
    terminal, else JSON; text has colours on a terminal only.
    """
    is_terminal = sys.stderr.isatty()
    form = form or (LogFormat.TEXT if is_terminal else LogFormat.JSON)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    render: list[Any] = (
        [structlog.dev.ConsoleRenderer(colors=is_terminal)]
        if form is LogFormat.TEXT
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_json_line)]
    )
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)


def _json_line(event: dict[str, Any], **_: Any) -> str:
    return encode_json(event, str).decode()
