"""Writes that may be said twice, repeated while the database is away.

Called by: engine.producer, engine.together, engine.batches, engine.context.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from trunkline.errors import Unavailable

T = TypeVar("T")
log = structlog.get_logger("trunkline.patience")


async def patiently(
    write: Callable[[], Awaitable[T]], timeout_s: float, *, begun: float | None = None, failed: Unavailable | None = None
) -> T:
    """The answer of `write`, which carries its own ids, so that a repeat after a lost answer changes nothing.

    Args:
        begun, failed: when a first try began, by the loop's clock, and how it ended; None: this is the first.
    Raises:
        Unavailable: the database was away for the whole time; say it again with the same ids.
    """
    clock = asyncio.get_running_loop().time
    deadline = (clock() if begun is None else begun) + timeout_s
    pause_s = 0.05
    while True:
        if failed is not None:
            if clock() + pause_s > deadline:
                raise failed
            log.warning("write.waiting", error=str(failed), retry_in_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, 1.0)
        try:
            return await write()
        except Unavailable as error:
            failed = error
