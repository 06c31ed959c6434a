"""How logs look: coloured lines for people at a terminal, JSON lines for machines.

Every line written while a handler runs says which job, attempt and tenant it belongs to, in threads and in processes of handlers too,
whether it is written with structlog or with `logging`. Always true: passwords in URLs, bearer tokens, and fields that are named like
secrets are masked, whoever put them there and however deep.
Called by: cli, engine.process_child; engine says what it knows (`about`, `hide`).
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TextIO, cast

import structlog

_SECRET = re.compile(r"(://[^:/@\s]*:)\S*@")
_BEARER = re.compile(r"\b(bearer\s+)[\w.~+/=-]{8,}", re.IGNORECASE)
_WITHOUT = str.maketrans("", "", "_-. ")
DEEPEST = 6
_about: list[Callable[[], Mapping[str, Any] | None]] = []
_hidden: set[str] = set()


def about(tell: Callable[[], Mapping[str, Any] | None]) -> None:
    """Add to every line what `tell` answers of what is going on here; fields of the line go before."""
    _about.append(tell)


def hide(names: Iterable[str]) -> None:
    """Mask fields of these names, which are without case and separators (`apikey`)."""
    _hidden.update(names)


class _Stderr:
    """Whatever standard error is when a line is written: a progress bar puts itself in its place for a while."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def set_up(level: str = "info", form: Literal["auto", "console", "json"] = "auto") -> None:
    """Configure structlog for this process, and `logging` where nobody did; `auto` is console on a terminal and JSON elsewhere.

    What libraries write with `logging` is shown from warnings on; a logger with a level of its own is asked by that.
    """
    as_json = form == "json" or (form == "auto" and not sys.stderr.isatty())
    last: Any = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    before: list[Any] = [
        structlog.contextvars.merge_contextvars,
        add_job,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        mask,
    ]
    structlog.configure(
        processors=[*before, last],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _Stderr())),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    if not root.handlers:
        handler = logging.StreamHandler(cast(TextIO, _Stderr()))
        of_others = [structlog.stdlib.ExtraAdder(), structlog.stdlib.add_logger_name, *before[:-1]]
        handler.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                foreign_pre_chain=of_others, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, mask, last]
            )
        )
        root.addHandler(handler)


def add_job(_: Any, __: str, event: Any) -> Any:
    """A structlog processor, for applications that configure it themselves: the job that runs here."""
    for tell in _about:
        for name, value in (tell() or {}).items():
            event.setdefault(name, value)
    return event


def mask(_: Any, __: str, event: Any) -> Any:
    """A structlog processor: no secrets from here on. Behind what renders exceptions, before what renders the line."""
    for key, value in event.items():
        event[key] = _masked(key, value, 1)
    return event


def _masked(name: object, value: Any, depth: int) -> Any:
    if _hidden and isinstance(name, str) and value is not None and name.lower().translate(_WITHOUT) in _hidden:
        return "***"
    if isinstance(value, str):
        if "://" in value:
            value = _SECRET.sub(r"\1***@", value)
        return _BEARER.sub(r"\1***", value) if "earer" in value or "EARER" in value else value
    if depth < DEEPEST and isinstance(value, dict):
        return {key: _masked(key, each, depth + 1) for key, each in value.items()}
    if depth < DEEPEST and isinstance(value, (list, tuple)):
        return [_masked(None, each, depth + 1) for each in value]
    return value
