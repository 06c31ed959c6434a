"""Whether a worker's jobs are of several tenants just now, one of which has few.

What one tenant alone would have done in large pieces (a chunk of jobs without a turn of the event loop, a claim, a flush of reports) is
done in small ones while a small one is there: its few jobs wait for the piece that is under way, on the loop and on the server's disk.
And a tenant is not given more while so much of its own is on its way that the database is kept busy with it. Tenants that all have a
backlog wait for each other's anyway, and are through sooner with large pieces (docs/decisions/0024).
Always true: a worker of one tenant is never in company.
Called by: engine.fetcher (tells), engine.runner and engine.acker (ask).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

ON_THEIR_WAY = 100  # jobs of a tenant that wait here unstarted, or have ended and are not written: beyond, it is given no more
STAYS_S = 2.0  # a tenant whose jobs were here counts as being here
REMEMBERED = 1000  # tenants; when there are more, those that came before STAYS_S are forgotten
MOST = 250  # jobs of one statement: 100 made a drain of two tenants a third slower
MOST_ENDINGS = 50  # of one statement: 100 KB and more of write-ahead log, with their errors; every commit behind it waits for that


class Company:
    """Who was here lately."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = 0  # tenant ids begin at 1
        self._came: dict[int, float] = {}  # when each last came, monotonic
        self._most_kept = REMEMBERED
        self._several_until = self._small_until = float("-inf")

    def answered(self, tenant_id: int, claimed: int, *, of: int) -> None:
        """A claim of this tenant found so many jobs where there was room for `of`. Fewer are all that it had: it is a small one."""
        now = self._clock()
        if claimed:
            if tenant_id != self._last:
                if self._last:
                    self._several_until = now + STAYS_S
                if len(self._came) >= self._most_kept:
                    self._came = {tenant: at for tenant, at in self._came.items() if at > now - STAYS_S}
                    self._most_kept = max(REMEMBERED, 2 * len(self._came))  # so that this is rare however many come
            self._last, self._came[tenant_id] = tenant_id, now
        if claimed < of and self._came.get(tenant_id, float("-inf")) > now - STAYS_S:  # else it had nothing, and has nothing
            self._small_until = now + STAYS_S

    @property
    def is_here(self) -> bool:
        """Whether jobs of several tenants came lately, and some of them were all that their tenant had."""
        return min(self._several_until, self._small_until) > self._clock()

    def most(self, alone: int, beside: int = MOST) -> int:
        """How many jobs one statement takes, where a tenant that is alone gets `alone`."""
        return min(alone, beside) if self.is_here else alone

    def full(self, on_their_way: Mapping[int, int]) -> set[int]:
        """Tenants that are given no more for now: so many jobs of theirs wait for a slot, or have ended and are not written yet."""
        return {tenant for tenant, count in on_their_way.items() if count > ON_THEIR_WAY} if self.is_here else set()
