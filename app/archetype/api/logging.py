"""The server's log: JSON lines on stderr, or coloured ones on a terminal."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog
from litestar.serialization import encode_json

__all__ = ["configure_logging"]


def configure_logging() -> None:
    """Send to stderr, in one form: our own lines from INFO on, those of libraries from WARNING on."""
    is_terminal = sys.stderr.isatty()
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    render: list[Any] = (
        [structlog.dev.ConsoleRenderer()]
        if is_terminal
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
