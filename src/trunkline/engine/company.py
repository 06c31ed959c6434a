"""Whether a worker's jobs are of one tenant or of several just now.

What one tenant alone would have done in large pieces (a chunk of jobs without a turn of the event loop, a claim, a flush of reports) is
done in small ones while others are there: each of them waits for the piece that is under way, on the loop and on the server's disk. And a
tenant is not given more while so much of its own is on its way that the database is kept busy with it (docs/decisions/0024).
Always true: a worker of one tenant is never in company.
Called by: engine.fetcher (tells), engine.runner and engine.acker (ask).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

ON_THEIR_WAY = 100  # jobs of a tenant that wait here unstarted, or have ended and are not written: beyond, it is given no more
STAYS_S = 2.0  # a tenant whose jobs were here counts as being here
MOST = 250  # jobs of one statement: 100 made a drain of two tenants a third slower
MOST_ENDINGS = 50  # of one statement: 100 KB and more of write-ahead log, with their errors; every commit behind it waits for that


class Company:
    """Who was here lately."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = 0  # tenant ids begin at 1
        self._until = float("-inf")  # monotonic

    def came(self, tenant_id: int) -> None:
        """Jobs of this tenant were claimed, or it has some."""
        if tenant_id != self._last:
            if self._last:
                self._until = self._clock() + STAYS_S
            self._last = tenant_id

    @property
    def is_here(self) -> bool:
        """Whether jobs of several tenants came lately."""
        return self._until > self._clock()

    def most(self, alone: int, beside: int = MOST) -> int:
        """How many jobs one statement takes, where a tenant that is alone gets `alone`."""
        return min(alone, beside) if self.is_here else alone

    def full(self, on_their_way: Mapping[int, int]) -> set[int]:
        """Tenants that are given no more for now: so many jobs of theirs wait for a slot, or have ended and are not written yet."""
        return {tenant for tenant, count in on_their_way.items() if count > ON_THEIR_WAY} if self.is_here else set()
