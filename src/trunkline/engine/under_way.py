"""Claims whose answer has not come, where one worker serves many tenants: at most one of each tenant, a few in all.

A claim waits for a commit, and commits of several connections are written to disk together: so a small tenant's claim need not wait
for the answer to a large one's.
Always true: what a claim raised is raised once, by `check`; after `landed` every job that was leased is known to its runner.
Called by: engine.fetcher.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from types import MappingProxyType
from typing import Any

from trunkline.engine.shares import Right

PRECEDES_S = 0.25  # whoever waits this long for an answer waits for somebody's lock: others do not wait with it


class UnderWay:
    """`landed_one` is called whenever one has its answer."""

    def __init__(self, landed_one: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._landed_one, self._clock = landed_one, clock
        self._limits: dict[int, int] = {}
        self._rights: dict[int, tuple[Right, float]] = {}  # and when it began, monotonic
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: BaseException | None = None
        self.limits: Mapping[int, int] = MappingProxyType(self._limits)  # by tenant, how many jobs it asked for

    def allows(self, right: Right, now: float) -> bool:
        """Whether a claim may begin beside these: none of them is of somebody with a better right, who should have its jobs first."""
        return all(right <= other or now - began_at > PRECEDES_S for other, began_at in self._rights.values())

    def begin(self, tenant_id: int, limit: int, right: Right, claim: Coroutine[Any, Any, None]) -> None:
        """Let `claim` go on beside the others."""

        def over(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            del self._limits[tenant_id], self._rights[tenant_id]
            if not task.cancelled() and (error := task.exception()) is not None:
                self._failed = error
            self._landed_one()

        self._limits[tenant_id], self._rights[tenant_id] = limit, (right, self._clock())
        task = asyncio.create_task(claim)
        self._tasks.add(task)
        task.add_done_callback(over)

    def check(self) -> None:
        """Raise what a claim has raised since the last time."""
        if self._failed is not None:
            error, self._failed = self._failed, None
            raise error

    async def landed(self) -> None:
        """Wait until none is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)
            await asyncio.sleep(0)  # their callbacks come after those that wake this

    def cancel(self) -> None:
        """Nobody wants the answers any more."""
        for task in self._tasks:
            task.cancel()
