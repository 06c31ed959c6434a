"""Blocking work in a daemon thread of its own, awaited from the loop.

Not one of the loop's pool: a server that hangs holds up neither the process's exit nor the name lookups that share the pool.
Always true: whoever awaits gets what the work returned or raised; one who gives up waits for nothing.
Called by: connections.probe, jobtypes.schema.bridge.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[[], T], *, name: str) -> T:
    """The answer of `work`, run in a thread called `name`; it is not told when nobody awaits it any more."""
    done: Future[T] = Future()
    threading.Thread(target=_settle, args=(done, work), name=name, daemon=True).start()
    return await asyncio.wrap_future(done)


def _settle(done: Future[T], work: Callable[[], T]) -> None:
    if not done.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 - it is not swallowed: whoever awaits `done` gets it
        done.set_exception(error)
    else:
        done.set_result(result)
