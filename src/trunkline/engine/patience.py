"""Writes that may be said twice, repeated while the database is away.

Called by: engine.batches, engine.flows, engine.context.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from trunkline.errors import Unavailable

T = TypeVar("T")
log = structlog.get_logger("trunkline.patience")


async def patiently(write: Callable[[], Awaitable[T]], timeout_s: float) -> T:
    """The answer of `write`, which carries its own ids, so that a repeat after a lost answer changes nothing.

    Raises:
        Unavailable: the database was away for the whole time; say it again with the same ids.
    """
    deadline = asyncio.get_running_loop().time() + timeout_s
    pause_s = 0.05
    while True:
        try:
            return await write()
        except Unavailable as error:
            if asyncio.get_running_loop().time() + pause_s > deadline:
                raise
            log.warning("write.waiting", error=str(error), retry_in_s=pause_s)
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, 1.0)
