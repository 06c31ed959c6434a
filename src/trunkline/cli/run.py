"""Runs one command's coroutine and turns what is refused into a sentence and an exit code.

Always true: a `TrunklineError`, and what the database refuses, end as one sentence on standard error (one JSON line under
`--json`) and exit code 1, without a traceback; anything else is a bug and keeps its traceback.
Called by: every command.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import warnings
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import typer

from trunkline.cli import show

T = TypeVar("T")


def carry_out(work: Coroutine[Any, Any, T], *, as_json: bool = False) -> T:
    """The answer of `work`, run on a loop of its own (uvloop where it is installed); refusals as in `refusals`."""
    with refusals(as_json=as_json), asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(work)
    raise AssertionError  # `refusals` raises or lets through, it swallows nothing


@contextmanager
def refusals(*, as_json: bool = False) -> Iterator[None]:
    """Turn what is refused inside the block into a sentence on standard error and exit code 1."""
    warnings.showwarning = _warn
    try:
        yield
    except Exception as error:
        told = in_words(error)
        if told is None:
            raise
        refuse(*told, as_json=as_json)


def leave(code: int) -> None:
    """End a command that ran handlers. A thread that hears nothing was given up, and Python would wait for it for ever."""
    if any(not thread.daemon and thread is not threading.main_thread() for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    if code:
        raise typer.Exit(code)


def refuse(sentence: str, code: str = "error", *, as_json: bool = False) -> NoReturn:
    """Say why not, and end with exit code 1."""
    if as_json:
        import msgspec

        sys.stderr.write(msgspec.json.encode({"error": sentence, "code": code}).decode() + "\n")
    else:
        show.say(f"error: {sentence}", style="red", stderr=True)
    raise typer.Exit(1)


def in_words(error: Exception) -> tuple[str, str] | None:
    """(sentence, code) of what was refused on purpose; None for a bug."""
    from trunkline.errors import TrunklineError

    if isinstance(error, TrunklineError):
        return str(error), error.code
    sqlstate = getattr(error, "sqlstate", None)
    if type(error).__module__.partition(".")[0] == "asyncpg" and isinstance(sqlstate, str):
        hint = getattr(error, "hint", None) or ("Connect as the schema's owner, or as a role that may." if sqlstate == "42501" else None)
        return f"the database refused this ({sqlstate}: {error})." + (f" {hint}" if hint else ""), "database_refused"
    return None


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        from uvloop import new_event_loop
    except ImportError:
        return None
    return new_event_loop


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    show.say(f"warning: {message}", style="yellow", stderr=True)
