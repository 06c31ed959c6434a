"""Functions for `process=True` handlers: they must stand at the top level of a module that a child process can import."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from trunkline import Fail, RetryAfter, Snooze


def square(n: int) -> dict[str, int]:
    return {"square": n * n, "pid": os.getpid()}


def spin(path: str) -> None:
    """Says its pid and never ends by itself."""
    Path(path).write_text(str(os.getpid()))
    while True:
        time.sleep(60)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def say(what: str) -> None:
    raise {"fail": Fail("no"), "snooze": Snooze(3600), "wait": RetryAfter(3600, "later"), "error": ValueError("odd")}[what]
