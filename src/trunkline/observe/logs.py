"""How logs look: coloured lines for people at a terminal, JSON lines for machines.

Every line written while a handler runs says which job, attempt and tenant it belongs to.
Called by: cli.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import Any, Literal, TextIO, cast

import structlog

_SECRET = re.compile(r"(://[^:/@\s]*:)[^@\s]+@")


class _Stderr:
    """Whatever standard error is when a line is written: a progress bar puts itself in its place for a while."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def set_up(level: str = "info", form: Literal["auto", "console", "json"] = "auto") -> None:
    """Configure structlog for this process; `auto` is console on a terminal and JSON elsewhere."""
    as_json = form == "json" or (form == "auto" and not sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            _mask,
            structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _Stderr())),
        cache_logger_on_first_use=True,
    )


def _mask(_: Any, __: str, event: Any) -> Any:
    """Passwords in URLs never reach a log, whoever put them there."""
    for key, value in event.items():
        if isinstance(value, str) and "://" in value:
            event[key] = _SECRET.sub(r"\1***@", value)
    return event
